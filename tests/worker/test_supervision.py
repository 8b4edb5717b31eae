"""What a supervisor is made of: when it starts again, who is reaped, when a worker is worn."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from aioq import Aioq, Settings
from aioq.broker.weather import Weather
from aioq.core.errors import AioqError, ConfigurationError
from aioq.testing import running
from aioq.worker import recycling
from aioq.worker.orphans import Incarnation, Orphans
from aioq.worker.supervisor import LONGEST_PAUSE, restart_delay
from aioq.worker.tie import Hold, Left, Loaded, Message, Named, Ready, Tie
from tests.eventually import eventually

DEAD = Incarnation("redis://nowhere", "{shop.0}:", "host-1-abcd", is_crash=True)

app = Aioq()


@app.task
async def quick() -> None: ...


def latest(low: float, high: float) -> float:
    return high


def test_a_child_that_lived_long_is_replaced_at_once() -> None:
    assert restart_delay(0) == 0


def test_children_that_die_early_are_replaced_less_and_less_often() -> None:
    delays = [restart_delay(deaths, latest) for deaths in (1, 2, 3, 4)]

    assert delays == [1, 2, 4, 8]
    assert restart_delay(1000, latest) == LONGEST_PAUSE
    assert all(0 <= restart_delay(3) <= 4 for _ in range(100))


class Server:
    """A server that is away for as long as it is told to be."""

    def __init__(self, error: AioqError | None = None) -> None:
        self.error = error
        self.asked: list[str] = []

    def reap(self, incarnation: Incarnation) -> int:
        self.asked.append(incarnation.worker)
        if self.error is not None:
            raise self.error
        return 2


def test_the_dead_are_reaped_in_the_background(caplog: pytest.LogCaptureFixture) -> None:
    server = Server()
    orphans = Orphans(server.reap)
    orphans.reap(DEAD)
    orphans.reap(DEAD._replace(worker="host-2-abcd"))

    assert orphans.finished(10)
    assert server.asked == ["host-1-abcd", "host-2-abcd"]
    assert "Took over 2 jobs of host-1-abcd: they run elsewhere." in caplog.text


async def test_reaping_waits_for_the_server_and_holds_nobody_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server(Weather("gone"))
    orphans = Orphans(server.reap)
    orphans.reap(DEAD)
    await eventually(lambda: len(server.asked) > 2)

    assert not orphans.finished(0)
    assert caplog.text.count("The jobs of host-1-abcd wait until the server is back: gone.") == 1
    server.error = None
    assert await asyncio.to_thread(orphans.finished, 10)


def test_what_the_server_refuses_is_left_to_the_lease(caplog: pytest.LogCaptureFixture) -> None:
    server = Server(ConfigurationError("no such URL"))
    orphans = Orphans(server.reap)
    orphans.reap(DEAD)

    assert orphans.finished(10)
    assert "The jobs of host-1-abcd wait until its lease has ended." in caplog.text


async def test_a_worker_is_worn_after_its_jobs() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "settings", Settings(max_jobs=2))
        async with running(app) as worker:
            worn = asyncio.ensure_future(recycling.worn(worker, latest))
            await quick.enqueue()
            await eventually(lambda: worker.done == 1)
            assert not worn.done()
            await quick.enqueue()

            assert await asyncio.wait_for(worn, 10) == "run 2 jobs (max_jobs=2)"


def test_workers_that_start_together_are_not_worn_together() -> None:
    assert recycling.limits(Settings()) == ""
    limits = recycling.limits(Settings(max_jobs=5, max_memory=100, max_lifetime=60))
    assert limits == "5 jobs, 100 MB, 60 s"


def test_the_memory_of_this_process_is_known() -> None:
    before = recycling.memory()
    taken = b"x" * 50_000_000

    assert recycling.memory() - before > 40
    del taken


def test_a_limit_below_what_a_worker_takes_is_refused() -> None:
    recycling.check(Settings(max_memory=100_000))
    with pytest.raises(ConfigurationError, match=r"max_memory=1 is too low: a worker takes \d+ MB"):
        recycling.check(Settings(max_memory=1))


@pytest.fixture
def heard() -> list[Message]:
    return []


@pytest.fixture
async def hold(heard: list[Message]) -> AsyncIterator[Hold]:
    """The supervisor's end of a tie."""
    made = Hold(0)
    yield made
    made.close()


@pytest.fixture
def tie(hold: Hold) -> Iterator[Tie]:
    """The child's end, in the same process."""
    with socket.socket(fileno=os.dup(hold.descriptor)) as stream:
        yield Tie(stream, 0, is_one_of_several=True)


async def test_a_supervisor_hears_what_its_child_says(
    hold: Hold, tie: Tie, heard: list[Message]
) -> None:
    hold.started(heard.append)
    said = [Loaded("redis://h", "", "{a.0}:", 25, 2), Named("host-1-abcd"), Ready(), Left()]
    for message in said:
        tie.tell(message)

    await eventually(lambda: heard == said)


async def test_words_that_were_said_last_are_heard_at_the_end(
    hold: Hold, tie: Tie, heard: list[Message]
) -> None:
    hold.started(heard.append)
    tie.tell(Named("host-1-abcd"))
    hold.close()

    assert heard == [Named("host-1-abcd")]
    tie.tell(Ready())  # nobody hears it, and it is no error


async def test_a_supervisor_that_does_not_listen_holds_no_child_up(hold: Hold, tie: Tie) -> None:
    for _ in range(10_000):
        tie.tell(Named("x" * 1000))


def test_without_a_supervisor_a_tie_does_nothing() -> None:
    tie = Tie.join()
    tie.tell(Ready())

    assert not tie.is_held
    assert not tie.is_restart
