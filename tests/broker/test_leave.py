"""leave.lua: a worker says goodbye, and an empty system is empty (G13)."""

import pytest

from aioq.broker import scripts
from tests.broker.calls import deliver, enqueue, outcome, settle
from tests.broker.clock import Clock
from tests.broker.place import FOREVER, Place, new_job

pytestmark = pytest.mark.broker

LANES = ["default:5", "default:9", "never:0"]


def leave(place: Place, worker: str = "w1") -> int:
    return place.run(scripts.leave(place.prefix, worker=worker, lanes=LANES))


def test_the_last_worker_of_an_empty_system_leaves_nothing_but_what_expires(
    place: Place, clock: Clock
) -> None:
    place.run(
        scripts.beat(
            place.prefix, worker="w1", lease_ms=1000, register=1, presence=b"", queues=["default"]
        )
    )
    deliveries = deliver(place, new_job("a"), new_job("b", lane="default:9"))
    settle(place, *(outcome(each, "c", 0) for each in deliveries))
    assert leave(place) == 0
    assert set(place.dump()) == {"j:a", "j:b", "sv:default"}
    assert set(place.expiring()) == {"j:a", "j:b", "sv:default"}


def test_what_is_still_in_a_lane_stays(place: Place, clock: Clock) -> None:
    [delivery] = deliver(place, new_job("a"))
    enqueue(place, new_job("b"))
    settle(place, outcome(delivery, "c", 0))
    leave(place)
    place.lease("w2")
    assert [each.job_id for each in deliver(place, worker="w2")] == [b"b"]


def test_a_lane_that_another_worker_reads_stays(place: Place, clock: Clock) -> None:
    deliveries = deliver(place, new_job("a")) + deliver(place, new_job("b"), worker="w2")
    settle(place, *(outcome(each, "c", 0) for each in deliveries))
    leave(place)
    assert place.dump()["s:default:5"] == []
    assert place.dump()["lw"] == {"w2": FOREVER}
    leave(place, "w2")
    assert "s:default:5" not in place.dump()


def test_a_worker_that_still_holds_deliveries_keeps_its_lease_for_the_reaper(
    place: Place, clock: Clock
) -> None:
    deliver(place, new_job("a"), new_job("b"), new_job("c", lane="default:9"))
    assert leave(place) == 3
    dump = place.dump()
    assert dump["lw"] == {"w1": FOREVER}
    assert [entry[2] for entry in dump["s:default:5"]] == ["w1", "w1"]


def test_leaving_may_be_sent_again_and_so_may_the_goodbye_of_one_who_never_came(
    place: Place, clock: Clock
) -> None:
    deliver(place)
    assert (leave(place), leave(place), leave(place, "nobody")) == (0, 0, 0)
    assert place.dump() == {}


def test_the_next_worker_starts_where_there_was_nothing(place: Place, clock: Clock) -> None:
    [first] = deliver(place, new_job("a"))
    settle(place, outcome(first, "c", 0))
    leave(place)
    assert [each.job_id for each in deliver(place, new_job("b"), worker="w2")] == [b"b"]
