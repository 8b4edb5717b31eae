"""A server at its maxmemory: nothing more comes in, and everything can be drained (G10)."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager

import pytest

from aioq.broker import scripts
from aioq.broker.scripts import Limit, Update
from aioq.core.errors import BrokerFull
from tests.broker.calls import (
    beat,
    enqueue,
    fetch,
    outcome,
    reap,
    recover,
    register,
    revoke,
    settle,
)
from tests.broker.clock import Clock
from tests.broker.place import Place, new_job

pytestmark = pytest.mark.broker


@pytest.fixture
def full(place: Place, clock: Clock) -> Iterator[Place]:
    """A place with some jobs, whose server then has no byte to spare."""
    place.lease("w1")
    enqueue(
        place,
        *(new_job(name, expires="+9000") for name in "abcdefgh"),
        new_job("late", expires="+0"),
        new_job("due", due="+10"),
        new_job("out", due="+10", expires="+5"),
    )
    clock.advance(10)
    place.admin("CONFIG", "SET", "maxmemory", 1)
    yield place
    place.admin("CONFIG", "SET", "maxmemory", 0)


@contextmanager
def room(full: Place) -> Generator[None]:
    """Let a test write around the scripts."""
    full.admin("CONFIG", "SET", "maxmemory", 0)
    yield
    full.admin("CONFIG", "SET", "maxmemory", 1)


@pytest.mark.parametrize("due", ["", "+500"])
def test_an_enqueue_is_refused_at_once_and_leaves_nothing_behind(full: Place, due: str) -> None:
    before = full.dump()
    with pytest.raises(BrokerFull, match=r"enqueue\.lua: the server is full .*nothing was queued"):
        enqueue(full, new_job("new", due=due), new_job("newer"))
    assert full.dump() == before


def test_a_job_that_is_there_already_is_found_all_the_same(full: Place) -> None:
    assert enqueue(full, new_job("a")).created == [True]


def test_everything_that_is_there_can_be_drained(full: Place) -> None:
    register(full, "w2", limits=[Limit("add", "5")])
    assert beat(full, "w2").alive
    a, b, c, d, e, f, g, h, due = fetch(full, worker="w2").deliveries
    assert due.job_id == b"due"
    noted = Update(a.job_id, a.entry_id, "p", b"half" * 99)
    assert full.run(scripts.update(full.prefix, count=1, updates=[noted])) == [True]
    assert full.run(scripts.wait(full.prefix, client="c1", job_ids=["a"]))[0].state == "-"
    assert full.run(scripts.look(full.prefix, job_id="a")).payload == b"<a>"
    verdicts = settle(
        full,
        outcome(a, "c", 3_600_000, b"R" * 99),
        outcome(b, "r", "+100", b"boom" * 99),
        outcome(c, "r", "+0", b"boom"),
        outcome(d, "n", "+100"),
        outcome(e, "u", 9999, b"unknown"),
        outcome(f, "f", "", b"boom"),
        outcome(g, "l", "", b"lost" * 99),
        outcome(due, "c", 0, b""),
    )
    assert verdicts == "K" * 8
    assert full.run(scripts.backlog(full.prefix, lanes=["default:5"])) == 2
    assert recover(full, "w2", known=[]) == 1
    assert revoke(full, h.job_id.decode(), "b") == [True, True]
    assert reap(full, "w2", is_crash=False).workers == ["w2"]


def test_what_the_dead_held_is_taken_over(full: Place) -> None:
    assert len(fetch(full).deliveries) == 9
    assert revoke(full, "a", "b") == [True, True]
    assert revoke(full, "c", at_once=True) == [True]
    with room(full):
        full.lease("w1", until=1)
    assert reap(full) == (8, False, ["w1"])
    states = {name: job["state"] for name, job in full.dump().items() if name.startswith("j:")}
    assert list(states.values()).count("queued") == 6


def test_suspects_are_delayed_and_buried(full: Place, clock: Clock) -> None:
    register(full, limits=[Limit("add", "3")])
    revoke(full, *"bcdefgh", "due")
    for _ in range(3):
        assert fetch(full, lanes=["default:z", "default:5"], room=1).deliveries
        reap(full, "w1")
        with room(full):
            full.lease("w1")
            clock.advance(4000)
    assert full.dump()["j:a"]["state"] == "failed"


def test_a_silence_is_noticed_and_leases_are_extended(full: Place, clock: Clock) -> None:
    register(full, "w2")
    with room(full):
        clock.advance(60_000)
    assert reap(full) == (0, False, [])
    assert full.dump()["lw"]["w2"] == clock.now_ms + 30_000


def test_the_first_fetch_of_a_lane_creates_its_group(full: Place) -> None:
    assert len(fetch(full).deliveries) == 9


def test_a_worker_without_room_can_pass_its_token_on(full: Place) -> None:
    """Refused, it would be an error of the consumer, and so the end of the worker."""
    assert full.run(scripts.ring(full.prefix, queue="default")) == 1
