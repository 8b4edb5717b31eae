"""A free slot is never forgotten, whatever becomes of the gate that was woken for it."""

import pytest

from aioq.broker import queues
from tests.broker.calls import deliver, enqueue, fetch, outcome, revoke, settle
from tests.broker.clock import Clock
from tests.broker.place import FOREVER, START, Place, new_job

pytestmark = pytest.mark.broker


@pytest.fixture
def contested(place: Place, clock: Clock) -> Place:
    """One slot, which a job of each of two gates waits for; a gate has been woken for it."""
    place.admin("HSET", f"{place.prefix}lc", "c:mail", "1 app 1")
    place.lease("w1", until=FOREVER)
    enqueue(place, new_job("first", lane="default:5 c:mail:"))
    [first] = fetch(place).deliveries
    enqueue(place, new_job("woken", lane="default:9 c:mail:", expires="+1000"))
    enqueue(place, new_job("next", lane="mail:5 c:mail:"))
    assert take(place) == []
    settle(place, outcome(first, "c", 0))
    dump = place.dump()
    assert "hr:default:9" in dump
    assert dump["sw:c:mail:"].keys() == {"mail:5 c:mail:"}
    return place


def take(place: Place, *lanes: str) -> list[str]:
    found = fetch(place, lanes=lanes or ("default:9", "mail:5")).deliveries
    return [each.job_id.decode() for each in found]


def test_the_next_has_it_when_the_job_is_revoked(contested: Place) -> None:
    revoke(contested, "woken")
    assert take(contested) == ["next"]


def test_the_next_has_it_when_the_job_expires(contested: Place, clock: Clock) -> None:
    clock.advance(1000)
    assert take(contested) == ["next"]


def test_the_next_has_it_when_the_queue_is_paused(contested: Place) -> None:
    contested.run(queues.pause(contested.prefix, queue="default"))
    assert take(contested) == ["next"]


def test_the_next_has_it_where_both_are_of_one_lane(place: Place, clock: Clock) -> None:
    place.admin("HSET", f"{place.prefix}lc", "c:mail", "1 app 1")
    place.lease("w1", until=FOREVER)
    enqueue(place, new_job("first", lane="default:5 c:mail:"))
    [first] = fetch(place).deliveries
    enqueue(place, new_job("woken", lane="default:5 c:mail:", expires="+1000"))
    enqueue(place, new_job("next", lane="default:5 c:mail: b:free:"))
    assert take(place, "default:5") == []
    settle(place, outcome(first, "c", 0))
    clock.advance(1000)
    assert take(place, "default:5") == ["next"]


def test_the_next_has_it_when_no_worker_comes_for_it(contested: Place) -> None:
    contested.admin("DEL", f"{contested.prefix}b:mail")
    assert take(contested, "mail:5") == []
    assert contested.bells("mail") == 1
    assert take(contested, "mail:5") == ["next"]


def test_nobody_is_woken_where_no_slot_is_free(place: Place, clock: Clock) -> None:
    place.admin("HSET", f"{place.prefix}lc", "c:mail", "1 app 1")
    place.lease("w1", until=FOREVER)
    enqueue(place, *(new_job(name, lane="default:5 c:mail:") for name in "ab"))
    assert take(place, "default:5") == ["a"]
    enqueue(place, new_job("c", lane="default:9 c:mail:"))
    revoke(place, "c")
    assert place.dump()["sw:c:mail:"].keys() == {"default:5 c:mail:"}


def test_a_worker_is_rung_for_a_gate_of_a_lane_that_was_looked_at_before(
    place: Place, clock: Clock
) -> None:
    """What one gate cannot use another may, above it in the order of the lanes."""
    place.admin("HSET", f"{place.prefix}lc", "c:mail", "1 app 1", "b:slow", "1 app 1 9000000 1")
    place.lease("w1", until=FOREVER)
    deliveries = {
        each.job_id: each
        for each in deliver(place, new_job("s1", lane="default:5 b:slow: c:mail:"))
    }
    enqueue(place, new_job("s2", lane="default:5 b:slow: c:mail:"))
    settle(place, outcome(deliveries[b"s1"], "c", 0))
    place.admin("SADD", f"{place.prefix}sl:c:mail:", "holder")
    place.is_sound = False
    enqueue(place, new_job("top", lane="default:9 c:mail:"))
    assert take(place, "default:9") == []
    place.admin("SREM", f"{place.prefix}sl:c:mail:", "holder")
    assert take(place, "default:9", "default:5") == []
    assert place.bells() == 1
    assert take(place, "default:9", "default:5") == ["top"]


def started(place: Place, lanes: list[str], *, wait_ms: int, clock: Clock) -> list[str]:
    """Let one job after the other have the only slot, and return them in order."""
    order: list[str] = []
    for _ in lanes:
        clock.advance(wait_ms)
        for each in fetch(place, lanes=sorted(lanes, reverse=True)).deliveries:
            order.append(each.job_id.decode())
            settle(place, outcome(each, "c", 0))
    return order


def test_a_free_slot_goes_to_the_highest_priority_that_waits(place: Place, clock: Clock) -> None:
    place.admin("HSET", f"{place.prefix}lc", "c:mail", "1 app 1")
    place.lease("w1", until=FOREVER)
    [first] = deliver(place, new_job("first", lane="default:5 c:mail:"))
    lanes = [f"default:{level}" for level in (1, 5, 9, 3, 7)]
    for lane in lanes:
        clock.advance(1)
        enqueue(place, new_job(lane[-1], lane=f"{lane} c:mail:"))
        assert take(place, lane) == []
    settle(place, outcome(first, "c", 0))
    assert started(place, lanes, wait_ms=1, clock=clock) == ["9", "7", "5", "3", "1"]


def test_a_low_priority_does_not_wait_for_ever_for_a_slot(place: Place, clock: Clock) -> None:
    place.admin("HSET", f"{place.prefix}lc", "c:mail", "1 app 1")
    place.lease("w1", until=FOREVER)
    [first] = deliver(place, new_job("first", lane="default:9 c:mail:"))
    enqueue(place, new_job("low", lane="default:5 c:mail:"))
    enqueue(place, *(new_job(f"high{n}", lane="default:9 c:mail:") for n in range(20)))
    assert take(place, "default:9", "default:5") == []
    settle(place, outcome(first, "c", 0))
    order = started(place, ["default:9", "default:5"] * 10, wait_ms=11_000, clock=clock)
    assert order.index("low") == 4


def test_gates_of_one_lane_have_the_slots_they_share_in_turn(place: Place, clock: Clock) -> None:
    place.admin("HSET", f"{place.prefix}lc", "c:mail", "1 app 3", "c:slow", "1 app 9")
    place.lease("w1", until=FOREVER)
    for name, holds in (("a", "c:mail:"), ("b", "c:mail: c:slow:"), ("c", "c:slow: c:mail:")):
        enqueue(place, *(new_job(f"{name}{n}", lane=f"default:5 {holds}") for n in range(9)))
    order = ""
    for _ in range(9):
        clock.advance(1)
        taken = fetch(place).deliveries
        order += "".join(each.job_id.decode()[0] for each in taken)
        settle(place, *(outcome(each, "c", 0) for each in taken))
    assert order == "aaabbbccc" * 3


def test_a_lane_whose_worker_is_slower_has_its_part_of_the_slots(
    place: Place, clock: Clock
) -> None:
    place.admin("HSET", f"{place.prefix}lc", "c:mail", "1 app 2")
    place.admin("SET", f"{place.prefix}sv:mail", "", "PX", FOREVER)
    place.lease("w1", until=FOREVER)
    place.lease("w2", until=FOREVER)
    for queue in ("default", "mail"):
        jobs = (new_job(f"{queue}{n}", lane=f"{queue}:5 c:mail:") for n in range(8))
        enqueue(place, *jobs)
    order: list[str] = []
    for _ in range(9):
        clock.advance(1)
        taken = [
            *fetch(place, lanes=["default:5"]).deliveries,
            *fetch(place, worker="w2", lanes=["mail:5"]).deliveries,
        ]
        order += [each.job_id.decode()[0] for each in taken]
        settle(place, *(outcome(each, "c", 0) for each in taken))
    assert all({*order[n : n + 4]} == {"d", "m"} for n in range(10))


def test_a_lower_priority_has_no_part_of_the_slots(place: Place, clock: Clock) -> None:
    place.admin("HSET", f"{place.prefix}lc", "c:mail", "1 app 2")
    place.admin("SET", f"{place.prefix}sv:default", "", "PX", FOREVER)
    place.lease("w1", until=FOREVER)
    for level in "59":
        jobs = (new_job(f"{level}{n}", lane=f"default:{level} c:mail:") for n in range(4))
        enqueue(place, *jobs)
    order = ""
    for _ in range(4):
        clock.advance(1)
        taken = fetch(place, lanes=["default:9", "default:5"]).deliveries
        order += "".join(each.job_id.decode()[0] for each in taken)
        settle(place, *(outcome(each, "c", 0) for each in taken))
    assert order == "99995555"


def test_the_last_ready_job_of_a_lane_leaves_nothing_when_it_is_revoked(
    place: Place, clock: Clock
) -> None:
    enqueue(place, new_job("a", lane="mail:5 f:t"))
    revoke(place, "a")
    assert place.dump().keys() == {"j:a"}


def test_nor_where_others_of_the_lane_have_run(place: Place, clock: Clock) -> None:
    place.lease("w1", until=START + 1000)
    enqueue(place, *(new_job(name, lane="mail:5 f:t") for name in "abc"))
    fetch(place, room=2, lanes=["mail:5"])
    revoke(place, "c")
    assert not place.dump().keys() & {"l", "hr:mail:5", "b:mail"}


def test_a_gate_that_lets_nobody_through_makes_no_stream(place: Place, clock: Clock) -> None:
    place.admin("HSET", f"{place.prefix}lc", "c:mail", "1 app 1")
    place.lease("w1", until=FOREVER)
    enqueue(place, new_job("a", lane="default:5 c:mail:"), new_job("b", lane="mail:5 c:mail:"))
    assert take(place, "default:5") == ["a"]
    assert take(place, "mail:5") == []
    assert not place.dump().keys() & {"s:default:5", "s:mail:5", "s:mail:5h"}
