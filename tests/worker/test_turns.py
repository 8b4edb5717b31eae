"""Waiting inside a worker: told to the server, through outages, and never started unasked."""

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest

from aioq import Aioq, BrokerUnavailable, JobState, Revoked, Settings
from aioq.embedded import PrivateServer
from aioq.job import Job
from aioq.testing import running
from aioq.worker.turn import Lost, NotStarted, Turn
from tests.eventually import eventually

Answer = bool | Exception
OURS, TAKEN_OVER = True, False
AWAY = BrokerUnavailable("away")


class Script:
    """A server that answers the notes of one job as it was told."""

    def __init__(self, *answers: Answer) -> None:
        self.notes: list[str] = []
        self._answers: Iterator[Answer] = iter(answers)

    async def note(self, mark: str) -> bool:
        self.notes.append(mark)
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        await asyncio.sleep(0)
        return answer

    def turn(self) -> Turn:
        return Turn(self.note, lambda: None)


async def taken() -> asyncio.Semaphore:
    """Return a slot that is taken."""
    free = asyncio.Semaphore(1)
    await free.acquire()
    return free


async def begun(turn: Turn, free: asyncio.Semaphore) -> "asyncio.Task[None]":
    taking = asyncio.ensure_future(turn.take(free))
    for _ in range(3):
        await asyncio.sleep(0)
    return taking


async def test_whoever_finds_a_free_slot_tells_nobody() -> None:
    script, free = Script(), asyncio.Semaphore(1)
    await script.turn().take(free)

    assert (script.notes, free.locked()) == ([], True)


@pytest.mark.parametrize(
    ("answers", "notes"),
    [
        ((OURS, OURS), "vs"),
        ((AWAY, OURS), "vs"),
        ((OURS, AWAY, AWAY, OURS), "vsss"),
        ((AWAY, AWAY, OURS), "vss"),
    ],
)
async def test_the_server_has_noted_the_start_whatever_the_weather(
    answers: tuple[Answer, ...], notes: str
) -> None:
    script, free = Script(*answers), await taken()
    taking = await begun(script.turn(), free)
    assert script.notes == ["v"]
    free.release()
    await taking

    assert "".join(script.notes) == notes
    assert free.locked()


async def test_a_job_that_was_taken_over_does_not_wait() -> None:
    script, free = Script(TAKEN_OVER), await taken()
    with pytest.raises(Lost):
        await script.turn().take(free)


async def test_a_job_that_was_taken_over_meanwhile_takes_no_slot() -> None:
    script, free = Script(OURS, TAKEN_OVER), await taken()
    taking = await begun(script.turn(), free)
    free.release()
    with pytest.raises(Lost):
        await taking

    assert not free.locked()


@pytest.mark.parametrize("answers", [(OURS,), (OURS, AWAY, AWAY, AWAY, AWAY, AWAY, AWAY)])
@pytest.mark.parametrize("is_free", [True, False])
async def test_a_job_cancelled_while_it_waits_takes_no_slot(
    answers: tuple[Answer, ...],
    is_free: bool,  # noqa: FBT001 - one of two ways
) -> None:
    script, free = Script(*answers, AWAY), await taken()
    taking = await begun(script.turn(), free)
    if is_free:
        free.release()
        await asyncio.sleep(0)
    taking.cancel()
    await asyncio.wait({taking})

    assert taking.cancelled()
    assert free.locked() is not is_free


def test_a_cancellation_says_whether_anything_had_begun() -> None:
    turn, cancelled = Script().turn(), asyncio.CancelledError()
    assert isinstance(turn.cancelled(cancelled), NotStarted)
    turn.has_come()
    assert turn.cancelled(cancelled) is cancelled


# With a worker

app = Aioq(settings=Settings(threads=1, enqueue_timeout=1))
release = threading.Event()
starts: list[int] = []


@pytest.fixture(autouse=True)
def nobody_is_let_go() -> None:
    release.clear()
    starts.clear()


@app.task
def occupying() -> None:
    release.wait(30)


@app.task
def counted() -> int:
    starts.append(1)
    return len(starts)


def has_state(job: Job[None] | Job[int], state: JobState) -> Callable[[], object]:
    async def check() -> bool:
        return await job.status() is state

    return check


async def test_an_outage_fails_no_job_that_waits_and_starts_none() -> None:
    with PrivateServer(appendonly=True) as server:
        async with running(app, url=server.url):
            first = await occupying.enqueue()
            await eventually(has_state(first, JobState.STARTED))
            second = await counted.enqueue()
            await eventually(has_state(second, JobState.RECEIVED))
            server.kill()
            release.set()
            for _ in range(2):  # longer than a note is tried
                with pytest.raises(BrokerUnavailable):
                    await counted.enqueue()
            assert starts == []
            await asyncio.to_thread(server.restart)

            assert await second.result(timeout=30) == 1
            assert (await second.info()).retries == 0


async def test_a_job_that_was_ended_while_it_waited_never_starts() -> None:
    async with running(app) as worker:
        first = await occupying.enqueue()
        await eventually(has_state(first, JobState.STARTED))
        second = await counted.enqueue()
        await eventually(has_state(second, JobState.RECEIVED))
        assert await second.revoke(terminate=True)
        release.set()
        with pytest.raises(Revoked):
            await second.result(timeout=10)
        await worker.run_until_idle()
        assert starts == []

        assert await (await counted.enqueue()).result(timeout=10) == 1, "the thread is free"
