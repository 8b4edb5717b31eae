"""A server at its maxmemory: nothing more comes in, and everything can be drained (G10)."""

from collections.abc import Iterator

import pytest

from aioq.broker import scripts
from aioq.broker.scripts import Update
from aioq.core.errors import BrokerFull
from tests.broker.calls import enqueue, fetch, outcome, settle
from tests.broker.clock import Clock
from tests.broker.place import Place, new_job

pytestmark = pytest.mark.broker


@pytest.fixture
def full(place: Place, clock: Clock) -> Iterator[Place]:
    """A place with some jobs, whose server then has no byte to spare."""
    place.lease("w1")
    enqueue(
        place,
        *(new_job(name, expires="+9000") for name in "abcdef"),
        new_job("late", expires="+0"),
        new_job("due", due="+10"),
        new_job("out", due="+10", expires="+5"),
    )
    clock.advance(10)
    place.admin("CONFIG", "SET", "maxmemory", 1)
    yield place
    place.admin("CONFIG", "SET", "maxmemory", 0)


@pytest.mark.parametrize("due", ["", "+500"])
def test_an_enqueue_is_refused_at_once_and_leaves_nothing_behind(full: Place, due: str) -> None:
    before = full.dump()
    with pytest.raises(BrokerFull, match=r"enqueue\.lua: the server is full .*nothing was queued"):
        enqueue(full, new_job("new", due=due), new_job("newer"))
    assert full.dump() == before


def test_a_job_that_is_there_already_is_found_all_the_same(full: Place) -> None:
    assert enqueue(full, new_job("a")).created == [True]


def test_everything_that_is_there_can_be_drained(full: Place) -> None:
    registered = scripts.beat(
        full.prefix, worker="w2", lease_ms=9, register=1, presence=b"{}", queues=["default"]
    )
    assert full.run(registered)
    a, b, c, d, e, f, due = fetch(full, worker="w2").deliveries
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
        outcome(due, "c", 0, b""),
    )
    assert verdicts == "K" * 7
    assert full.run(scripts.backlog(full.prefix, lanes=["default:5"])) == 1
    assert full.run(scripts.leave(full.prefix, worker="w2", lanes=["default:5"])) == 0


def test_the_first_fetch_of_a_lane_creates_its_group(full: Place) -> None:
    assert len(fetch(full).deliveries) == 7


def test_a_worker_without_room_can_pass_its_token_on(full: Place) -> None:
    """Refused, it would be an error of the consumer, and so the end of the worker."""
    assert full.run(scripts.ring(full.prefix, queue="default")) == 1
