"""update.lua: note something on running deliveries."""

import pytest

from aioq.broker import scripts
from aioq.broker.scripts import Delivery, Update
from tests.broker.calls import deliver, outcome, settle
from tests.broker.clock import Clock
from tests.broker.place import CURRENT, Place, new_job, record

pytestmark = pytest.mark.broker


def note(delivery: Delivery, mark: str, progress: bytes = b"") -> Update:
    return Update(delivery.job_id, delivery.entry_id, mark, progress)


def update(place: Place, *updates: Update) -> list[bool]:
    return place.run(scripts.update(place.prefix, count=len(updates), updates=updates))


def running(**fields: object) -> dict[str, object]:
    return record("running", token=CURRENT, worker="w1", **fields)


def test_a_job_that_waits_inside_its_worker_is_marked_until_it_starts(
    place: Place, clock: Clock
) -> None:
    [delivery] = deliver(place, new_job("a"))
    assert update(place, note(delivery, "v")) == [True]
    assert place.dump()["j:a"] == running(started=0, mark="v")
    clock.advance(300)
    assert update(place, note(delivery, "s")) == [True]
    assert place.dump()["j:a"] == running(started=300)


def test_the_last_progress_is_kept(place: Place, clock: Clock) -> None:
    [delivery] = deliver(place, new_job("a"))
    assert update(place, note(delivery, "p", b"1 of 2"), note(delivery, "p", b"2 of 2")) == [
        True,
        True,
    ]
    assert place.dump()["j:a"] == running(started=0, mark="p", progress=b"2 of 2")


def test_an_update_may_be_sent_again(place: Place, clock: Clock) -> None:
    [delivery] = deliver(place, new_job("a"))
    update(place, note(delivery, "p", b"half"))
    before = place.dump()
    assert update(place, note(delivery, "p", b"half")) == [True]
    assert place.dump() == before


@pytest.mark.parametrize("mark", ["v", "s", "p"])
@pytest.mark.parametrize("op", ["c", "f", "n"])
def test_a_delivery_that_has_ended_takes_no_update(
    place: Place, clock: Clock, mark: str, op: str
) -> None:
    [delivery] = deliver(place, new_job("a"))
    settle(place, outcome(delivery, op, {"c": 0, "n": "+10"}.get(op, "")))
    before = place.dump()
    assert update(place, note(delivery, mark, b"half")) == [False]
    assert place.dump() == before


def test_a_delivery_that_was_taken_over_takes_no_update(place: Place, clock: Clock) -> None:
    [lost] = deliver(place, new_job("a"))
    settle(place, outcome(lost, "n", "+0"))
    [taken] = deliver(place, worker="w2")
    assert update(place, note(lost, "p", b"late"), note(taken, "p", b"good")) == [False, True]
    assert place.dump()["j:a"]["progress"] == b"good"


def test_a_job_that_nobody_knows_takes_no_update(place: Place, clock: Clock) -> None:
    assert update(place, Update(b"nobody", b"1-1", "p", b"half")) == [False]
    assert place.dump() == {}
