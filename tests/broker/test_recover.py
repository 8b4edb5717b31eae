"""recover.lua: give back what a worker was handed in a reply that it never got."""

import pytest

from aioq.broker.scripts import Delivery
from aioq.core.errors import AioqError
from tests.broker.calls import (
    beat,
    crash,
    deliver,
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
from tests.broker.place import CURRENT, FOREVER, Place, new_job, record

pytestmark = pytest.mark.broker


def test_deliveries_that_the_worker_does_not_know_are_given_back_and_nothing_is_counted(
    place: Place, clock: Clock
) -> None:
    [known] = deliver(place, new_job("a"))
    deliver(place, new_job("b"), new_job("c", lane="mail:9"))  # its reply is lost
    clock.advance(70)
    assert place.token("a") == place.token("c"), "entries of two lanes may have the same id"
    assert recover(place, known=[known]) == 2
    dump = place.dump()
    assert dump["j:a"] == record("running", token=CURRENT, worker="w1", started=0)
    assert dump["j:b"] == record("queued", token=CURRENT, ended=1)
    assert dump["j:c"] == record("queued", token=CURRENT, ended=1, lane="mail:9")
    assert (dump["b:default"], dump["b:mail"]) == (1, 1)
    assert dump["e"] == {"w1": "1"}
    again = fetch(place, epoch=1, lanes=["mail:9", "default:5"]).deliveries
    assert [(each.job_id, each.retries, each.deliveries) for each in again] == [
        (b"c", 0, 2),
        (b"b", 0, 2),
    ]
    assert settle(place, outcome(known, "c", 0)) == "K"


def test_where_nothing_was_lost_nothing_changes_but_the_epoch(place: Place, clock: Clock) -> None:
    [known] = deliver(place, new_job("a"))
    before = place.dump()
    assert recover(place, known=[known]) == 0
    assert place.dump() == before | {"e": {"w1": "1"}}


def test_what_others_hold_is_not_touched(place: Place, clock: Clock) -> None:
    [other] = deliver(place, new_job("a"), worker="w2")
    deliver(place, new_job("b"))
    assert recover(place, known=[]) == 1
    assert settle(place, outcome(other, "c", 0)) == "K"


def test_a_fetch_of_before_that_arrives_after_all_is_refused(place: Place, clock: Clock) -> None:
    """A zombie: handed out now, its jobs would come in a reply that nobody reads."""
    place.lease("w1", "w2")
    recover(place, epoch=1, known=[])
    enqueue(place, new_job("a"))
    before = place.dump()
    with pytest.raises(AioqError, match=r"fetch.* too late"):
        fetch(place, epoch=0)
    assert place.dump() == before
    assert len(fetch(place, epoch=1).deliveries) == 1
    enqueue(place, new_job("b"))
    assert len(fetch(place, worker="w2", epoch=0).deliveries) == 1


@pytest.mark.parametrize("late", [1, 2])
def test_a_recovery_that_arrives_late_takes_nothing_from_the_worker(
    place: Place, clock: Clock, late: int
) -> None:
    """It names what was known then; what was handed out since would run twice at the same time."""
    place.lease("w1")
    recover(place, epoch=1, known=[])
    recover(place, epoch=2, known=[])
    enqueue(place, new_job("a"))
    [delivery] = fetch(place, epoch=2).deliveries
    before = place.dump()
    with pytest.raises(AioqError, match=r"recovery comes too late"):
        recover(place, epoch=late, known=[])
    assert place.dump() == before
    with pytest.raises(AioqError, match=r"fetch.* too late"):
        fetch(place, epoch=1)
    assert settle(place, outcome(delivery, "c", 0)) == "K"


def test_one_call_gives_back_a_bounded_number_and_many_are_given_back_in_several(
    place: Place, clock: Clock
) -> None:
    known: list[Delivery] = []
    for start in range(0, 1000, 250):
        found = deliver(place, *(new_job(f"{start + n:04}") for n in range(250)))
        known += found[::3]
    lost = 1000 - len(known)
    assert [recover(place, epoch=epoch, known=known) for epoch in range(1, 5)] == [
        250,
        250,
        lost - 500,
        0,
    ]
    states = [job["state"] for name, job in place.dump().items() if name.startswith("j:")]
    assert (states.count("running"), states.count("queued")) == (len(known), lost)


def test_known_deliveries_in_front_hide_none_behind_them(place: Place, clock: Clock) -> None:
    known = deliver(place, *(new_job(f"{n}") for n in range(20)))
    deliver(place, new_job("lost"))
    assert recover(place, most=1, known=known) == 1
    assert place.dump()["j:lost"]["state"] == "queued"


def test_a_job_whose_revoke_is_recorded_ends_and_does_not_run_again(
    place: Place, clock: Clock
) -> None:
    """Its worker never knew of it, so nothing of it runs; and once queued nobody would stop it."""
    register(place)
    enqueue(place, new_job("a"))
    fetch(place)
    revoke(place, "a")
    assert recover(place, known=[]) == 1
    dump = place.dump()
    assert (dump["j:a"]["state"], dump["j:a"]["value"]) == ("revoked", b"revoked")
    assert "cx:w1" not in dump
    assert beat(place).revokes == []


def test_a_suspect_that_was_lost_is_offered_again_as_a_suspect(place: Place, clock: Clock) -> None:
    crash(place, new_job("a"), times=2)
    clock.advance(4000)
    place.lease("w1")
    lanes = ["default:z", "default:5"]
    assert len(fetch(place, lanes=lanes).deliveries) == 1
    assert recover(place, known=[]) == 1
    assert place.dump()["s:default:z"] == [("a", b"<a>", None)]
    [again] = fetch(place, epoch=1, lanes=lanes).deliveries
    assert (again.job_id, again.deliveries) == (b"a", 4)


def test_one_without_a_lease_recovers_nothing_and_leaves_nothing(
    place: Place, clock: Clock
) -> None:
    assert recover(place, known=[]) == 0
    assert place.dump() == {}
    deliver(place, new_job("a"), new_job("b"))
    reap(place, "w1", most=1)
    before = place.dump()
    assert recover(place, known=[]) == 0
    assert place.dump() == before


def test_the_epoch_goes_with_the_lease(place: Place, clock: Clock) -> None:
    place.lease("w1", "w2")
    recover(place, known=[])
    recover(place, "w2", epoch=7, known=[])
    reap(place, "w1", is_crash=False)
    assert place.dump() == {"lw": {"w2": FOREVER}, "e": {"w2": "7"}}


def test_entries_that_are_no_jobs_are_removed(place: Place, clock: Clock) -> None:
    deliver(place, new_job("a"))
    stream = f"{place.prefix}s:default:5"
    place.admin("XADD", stream, "*", "hello", "world")
    place.admin("XADD", stream, "*", "j", "nobody", "p", "")
    place.admin("XREADGROUP", "GROUP", "w", "w1", "STREAMS", stream, ">")
    assert recover(place, known=[]) == 3
    assert place.dump()["s:default:5"] == [("a", b"<a>", None)]
