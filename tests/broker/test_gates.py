"""Held jobs wait in lines behind gates: in order, at no cost, and in nobody's way."""

import pytest

from aioq.broker import scripts
from aioq.broker.scripts import Delivery, NewJob
from tests.broker.calls import crash, deliver, enqueue, fetch, outcome, reap, settle
from tests.broker.clock import Clock
from tests.broker.place import CURRENT, START, Place, new_job, record

pytestmark = pytest.mark.broker

BUCKET = "b:send:"
SLOT = "c:send:"


def define(place: Place, **limits: str) -> None:
    """Declare limits as the code does: `b_send="10 1000000 5"`: rate, per in us, burst."""
    for name, numbers in limits.items():
        place.admin("HSET", f"{place.prefix}lc", name.replace("_", ":", 1), f"1 app {numbers}")


def held(
    *names: str, holds: str = BUCKET, lane: str = "default:5", due: str = "", expires: str = ""
) -> list[NewJob]:
    where = f"{lane} {holds}"
    return [new_job(name, lane=where, due=due, expires=expires) for name in names]


def ids(deliveries: list[Delivery]) -> list[str]:
    return [each.job_id.decode() for each in deliveries]


def take(
    place: Place, worker: str = "w1", *, room: int = 250, lane: str = "default:5"
) -> list[str]:
    place.lease(worker)
    return ids(fetch(place, worker=worker, room=room, lanes=[lane]).deliveries)


def finish(place: Place, deliveries: list[Delivery], op: str = "c") -> None:
    settle(place, *(outcome(each, op, 0) for each in deliveries))


def test_a_job_with_a_limit_is_parked_from_the_start(place: Place, clock: Clock) -> None:
    enqueue(place, *held("a"))
    assert place.dump() == {
        "j:a": record("parked", holds=BUCKET),
        "y:a": b"<a>",
        "hp:default:5": {"a": START},
        "hl:default:5 b:send:": {"": 1},
        "hq:default:5 b:send: ": {"a": 1},
        "hr:default:5": {"default:5 b:send:": 1},
        "l": {"default:5"},
        "b:default": 1,
    }


def test_it_is_handed_out_with_its_token_and_settled_as_any_other(
    place: Place, clock: Clock
) -> None:
    define(place, b_send="1 1000000 1")
    enqueue(place, *held("a"))
    [delivery] = deliver(place)
    assert (delivery.job_id, delivery.payload, delivery.lane) == (b"a", b"<a>", 1)
    assert place.dump()["j:a"] == record(
        "running", token=CURRENT, holds=BUCKET, worker="w1", started=0
    )
    finish(place, [delivery])
    assert place.dump()["j:a"]["state"] == "completed"


def test_an_idle_bucket_lets_exactly_its_burst_through(place: Place, clock: Clock) -> None:
    define(place, b_send="10 1000000 3")
    enqueue(place, *held(*"abcde"))
    assert take(place) == ["a", "b", "c"]
    assert take(place) == []


def test_the_next_starts_when_its_token_comes_and_not_before(place: Place, clock: Clock) -> None:
    define(place, b_send="3 1000000 1")  # one every 333.3 ms
    place.lease("w1")
    enqueue(place, *held(*"abc"))
    assert ids(fetch(place).deliveries) == ["a"]
    fetched = fetch(place)
    assert (fetched.deliveries, fetched.next_ms) == ([], START + 334)
    clock.advance(333)
    assert take(place) == []
    clock.advance(1)
    assert take(place) == ["b"]
    clock.advance(333)
    assert take(place) == []
    clock.advance(1)
    assert take(place) == ["c"]


def test_what_comes_while_a_wake_up_is_late_is_not_lost(place: Place, clock: Clock) -> None:
    define(place, b_send="1 100000 5")
    enqueue(place, *held(*(f"a{n}" for n in range(20))))
    take(place)
    taken = 0
    for late in (130, 95, 175, 100):
        clock.advance(late)
        taken += len(take(place))
    assert taken == 5


def test_a_bucket_that_was_idle_for_long_lets_no_more_than_its_burst_through(
    place: Place, clock: Clock
) -> None:
    define(place, b_send="10 1000000 3")
    enqueue(place, *held(*"abcdefg"))
    assert take(place) == ["a", "b", "c"]
    clock.advance(3_600_000)
    assert take(place) == ["d", "e", "f"]


def test_jobs_that_wait_cost_no_fetch_anything(place: Place, clock: Clock) -> None:
    define(place, b_send="1 1000000 1")
    enqueue(place, *held(*(f"a{n}" for n in range(50))))
    take(place)
    before = place.dump()
    assert before["d"] == {"default:5 b:send:": START + 1000}
    assert not {name for name in before if name.startswith("hr:")}
    assert "l" not in before, "no fetch looks into the lane"
    take(place)
    assert place.dump() == before


def test_they_do_not_hold_up_others_of_the_same_queue(place: Place, clock: Clock) -> None:
    define(place, b_send="1 1000000 1")
    enqueue(place, *held("a", "b", "c"))
    enqueue(place, new_job("x"), new_job("y"))
    assert take(place) == ["a", "x", "y"]


def test_a_worker_with_one_slot_takes_from_the_stream_and_from_the_gates_in_turn(
    place: Place, clock: Clock
) -> None:
    enqueue(place, *held(*"abc", holds="f:t"))
    enqueue(place, *(new_job(name) for name in "xyz"))
    assert "".join(take(place, room=1)[0] for _ in range(6)) == "axbycz"


def test_several_limits_hold_a_job_until_all_of_them_allow_it(place: Place, clock: Clock) -> None:
    define(place, b_send="1 1000000 2", b_all="1 5000000 2", c_send="1")
    enqueue(place, *held(*"abc", holds="b:send: b:all: c:send:"))
    first = deliver(place)
    assert ids(first) == ["a"]
    assert place.dump()["sw:c:send:"].keys() == {"default:5 b:send: b:all: c:send:"}
    finish(place, first)
    assert take(place) == ["b"]
    clock.advance(1000)
    assert take(place) == []
    clock.advance(4000)
    assert take(place) == [], "there is a token, and no slot"


def test_no_token_is_taken_where_the_job_does_not_start(place: Place, clock: Clock) -> None:
    define(place, b_send="1 1000000 2", c_send="1")
    enqueue(place, *held(*"ab", holds="b:send: c:send:"))
    [first] = deliver(place)
    for _ in range(3):
        take(place)
    assert place.dump()["tb:send:"].split()[0] == b"1000000"
    finish(place, [first])
    assert take(place) == ["b"]


def test_a_cost_takes_so_many_tokens(place: Place, clock: Clock) -> None:
    define(place, b_send="1 1000000 5")
    enqueue(place, *held("a", holds="b:send:=4"), *held("b", holds="b:send:=3"), *held("c"))
    assert take(place) == ["a"]
    clock.advance(1999)
    assert take(place) == [], "c may not overtake b, which waits for more"
    clock.advance(1)
    assert take(place) == ["b"]


def test_each_key_has_a_bucket_of_its_own(place: Place, clock: Clock) -> None:
    define(place, b_send="1 1000000 1")
    enqueue(place, *held("a1", "a2", holds="b:send:a"), *held("b1", "b2", holds="b:send:b"))
    assert sorted(take(place)) == ["a1", "b1"]


def test_slots_are_given_back_by_every_end_of_a_delivery(place: Place, clock: Clock) -> None:
    define(place, c_send="1")
    enqueue(place, *held(*"abcdef", holds=SLOT))
    for op in "cfn":
        finish(place, deliver(place), op)
    [running] = deliver(place)
    assert running.job_id == b"d"
    place.run(scripts.revoke(place.prefix, at_once=True, keep_ms=0, job_ids=["d"]))
    assert take(place) == ["e"]
    reap(place, "w1")
    assert take(place, "w2") == ["f"]
    place.run(scripts.recover(place.prefix, worker="w2", epoch=1, most=10, known=[]))
    place.lease("w3")
    assert ids(fetch(place, worker="w3").deliveries) == ["c"], "c was given back before all these"


def test_the_first_in_line_has_the_slot_that_comes_free_and_somebody_is_woken(
    place: Place, clock: Clock
) -> None:
    define(place, c_send="2")
    enqueue(place, *held(*"abcd", holds=SLOT))
    first = deliver(place)
    assert ids(first) == ["a", "b"]
    take(place)
    assert place.bells() == 0
    finish(place, first[:1])
    assert place.bells() == 1
    assert take(place) == ["c"]


def test_one_slot_wakes_one_gate_and_what_that_cannot_use_is_for_the_next(
    place: Place, clock: Clock
) -> None:
    define(place, c_all="1", b_slow="1 9000000 1")
    enqueue(place, *held("a", holds="c:all:"), *held("s1", "s2", holds="b:slow: c:all:"))
    enqueue(place, *held("t", holds="c:all: b:free:"))
    first = deliver(place)
    assert ids(first) == ["a"]
    finish(place, first)
    second = deliver(place)
    assert ids(second) == ["s1"], "the gates wait for the slot in their order"
    finish(place, second)
    assert take(place) == ["t"], "s2 has no token"


def test_fair_keys_take_turns_however_much_one_of_them_brings(place: Place, clock: Clock) -> None:
    enqueue(place, *held(*(f"big{n}" for n in range(100)), holds="f:big"))
    enqueue(place, *held("small1", "small2", holds="f:small"))
    assert take(place, room=4) == ["big0", "small1", "big1", "small2"]


@pytest.mark.parametrize("room", [1, 2, 3])
def test_fair_keys_take_turns_from_fetch_to_fetch(place: Place, clock: Clock, room: int) -> None:
    for fair in "abc":
        enqueue(place, *held(*(f"{fair}{n}" for n in range(4)), holds=f"f:{fair}"))
    taken = [name for _ in range(12 // room) for name in take(place, room=room)]
    assert taken == [f"{fair}{n}" for n in range(4) for fair in "abc"]


def test_fair_keys_share_the_limits_of_their_gate(place: Place, clock: Clock) -> None:
    define(place, c_send="2")
    enqueue(place, *held("a1", "a2", holds="f:a c:send:"), *held("b1", holds="f:b c:send:"))
    assert take(place) == ["a1", "b1"]


def test_a_revoked_job_leaves_its_line_and_the_others_go_on(place: Place, clock: Clock) -> None:
    define(place, b_send="1 1000000 1")
    enqueue(place, *held(*"abc"))
    take(place)
    assert place.run(scripts.revoke(place.prefix, at_once=False, keep_ms=0, job_ids=["b"])) == [
        True
    ]
    clock.advance(1000)
    assert take(place) == ["c"]


def test_the_last_one_to_be_revoked_leaves_no_gate(place: Place, clock: Clock) -> None:
    define(place, b_send="1 1000000 1", c_send="1")
    enqueue(place, *held(*"ab", holds=BUCKET), *held(*"xy", holds=SLOT))
    finish(place, deliver(place))
    enqueue(place, *held("z", holds=SLOT))
    take(place)
    place.run(scripts.revoke(place.prefix, at_once=True, keep_ms=0, job_ids=["b", *"xyz"]))
    names = place.dump()
    assert not {name for name in names if name.startswith(("h", "sw", "sl", "lg")) or name == "d"}


def test_a_job_that_expires_in_its_line_ends_as_revoked(place: Place, clock: Clock) -> None:
    define(place, b_send="1 1000000 1")
    enqueue(place, *held("a"), *held("b", expires="+500"), *held("c"))
    take(place)
    clock.advance(1000)
    assert take(place) == ["c"]
    assert place.dump()["j:b"]["value"] == b"expired"


def test_a_job_that_expires_far_behind_in_its_line_ends_in_time(place: Place, clock: Clock) -> None:
    define(place, b_send="1 3600000000 1")
    place.lease("w1")
    enqueue(place, *held("a", "b"), *held("c", expires="+500"))
    fetch(place)
    assert fetch(place).next_ms == START + 500
    clock.advance(500)
    fetch(place)
    dump = place.dump()
    assert (dump["j:c"]["state"], dump["j:c"]["value"]) == ("revoked", b"expired")
    assert dump["hp:default:5"].keys() == {"b"}


def test_the_last_of_a_line_that_expires_leaves_no_gate(place: Place, clock: Clock) -> None:
    define(place, b_send="1 3600000000 1", c_send="1")
    enqueue(place, *held("a", holds="b:send: c:send:"))
    [running] = deliver(place)
    enqueue(place, *held("b", holds="b:send: c:send:", expires="+500"))
    take(place)
    clock.advance(500)
    take(place)
    finish(place, [running])
    names = place.dump()
    assert not {name for name in names if name.startswith(("h", "sw", "sl", "lg")) or name == "d"}


def test_a_job_that_starts_in_time_does_not_expire(place: Place, clock: Clock) -> None:
    define(place, b_send="1 1000000 1")
    enqueue(place, *held("a", expires="+500"))
    [running] = deliver(place)
    assert "d" not in place.dump()
    clock.advance(1000)
    take(place)
    finish(place, [running])
    assert place.dump()["j:a"]["state"] == "completed"


def test_a_delayed_job_with_a_limit_goes_to_its_line_when_it_is_due(
    place: Place, clock: Clock
) -> None:
    define(place, b_send="1 1000000 1")
    enqueue(place, *held("late", due="+100"), *held("a"))
    assert take(place) == ["a"]
    clock.advance(100)
    assert take(place) == []
    assert place.dump()["j:late"]["state"] == "parked"
    clock.advance(900)
    assert take(place) == ["late"]


def test_a_retry_waits_for_its_limits_again(place: Place, clock: Clock) -> None:
    define(place, b_send="1 1000000 1")
    enqueue(place, *held("a"))
    settle(place, outcome(deliver(place)[0], "r", "+0", b"error"))
    assert place.dump()["j:a"]["state"] == "parked"
    assert take(place) == []
    clock.advance(1000)
    assert take(place) == ["a"]


def test_a_suspect_with_a_limit_is_held_among_the_suspects(place: Place, clock: Clock) -> None:
    define(place, c_send="5")
    for name in "ab":
        crash(place, *held(name, holds=SLOT), times=1)
        crash(place, times=1)
        clock.advance(4000)
    assert take(place, room=10, lane="default:z") == ["a"], "one at a time"
    dump = place.dump()
    assert dump["s:default:zh"] == [("a", b"<a>", "w1")]
    assert (dump["j:a"]["state"], dump["j:b"]["state"]) == ("running", "parked")


def test_a_delivery_in_the_millisecond_of_the_last_one_has_a_token_of_its_own(
    place: Place, clock: Clock
) -> None:
    """Where its stream was removed in between, too, or the fence would let a late word pass."""
    [first] = deliver(place, *held("a", holds="f:t", lane="mail:5"))
    reap(place, "w1")
    assert "s:mail:5h" not in place.dump()
    place.lease("w2")
    [second] = fetch(place, worker="w2", lanes=["mail:5"]).deliveries
    assert first.entry_id != second.entry_id
    assert settle(place, outcome(first, "c", 0)) == "S"


def test_a_job_that_came_without_its_holds_is_parked_and_nothing_is_counted(
    place: Place, clock: Clock
) -> None:
    define(place, b_send="1 1000000 1")
    [delivery] = deliver(place, new_job("a"))
    assert settle(place, outcome(delivery, "p", BUCKET)) == "K"
    assert settle(place, outcome(delivery, "p", BUCKET)) == "D"
    clock.advance(1)
    [again] = deliver(place)
    assert (again.job_id, again.deliveries, again.retries, again.lane) == (b"a", 1, 0, 1)


def test_a_job_that_only_its_schedule_holds_may_still_have_limits(
    place: Place, clock: Clock
) -> None:
    define(place, b_send="1 1000000 1")
    enqueue(place, *held("a", "b", holds="o:nightly"))
    [delivery] = deliver(place)
    assert (delivery.job_id, delivery.lane) == (b"a", 0)
    settle(place, outcome(delivery, "p", BUCKET))
    [other] = deliver(place)
    clock.advance(1)
    assert take(place) == [], "one at a time"
    finish(place, [other])
    [again] = deliver(place)
    assert (again.job_id, again.lane) == (b"a", 1)
    assert place.dump()["j:a"]["holds"] == "b:send: o:nightly"


def test_a_paused_queue_hands_out_nothing_and_loses_nothing(place: Place, clock: Clock) -> None:
    enqueue(place, new_job("a"), *held("b", holds="f:x"))
    place.admin("SADD", f"{place.prefix}qp", "default")
    assert take(place) == []
    assert place.bells() == 0
    place.admin("SREM", f"{place.prefix}qp", "default")
    assert sorted(take(place)) == ["a", "b"]


def test_a_fetch_tells_whether_it_passed_over_lower_levels(place: Place, clock: Clock) -> None:
    place.lease("w1")
    enqueue(place, *(new_job(f"a{n}", lane="default:9") for n in range(2)))
    enqueue(place, new_job("b", lane="default:0"))
    lanes = ["default:9", "default:0"]
    assert [fetch(place, room=1, lanes=lanes).passed for _ in range(3)] == [True, True, False]


def test_an_unknown_limit_holds_nobody(place: Place, clock: Clock) -> None:
    enqueue(place, *held(*"ab", holds="b:gone: c:gone:"))
    assert take(place) == ["a", "b"]


def test_the_overlap_of_a_schedule_is_one_slot(place: Place, clock: Clock) -> None:
    enqueue(place, *held(*"ab", holds="o:nightly"))
    first = deliver(place)
    assert ids(first) == ["a"]
    finish(place, first)
    assert take(place) == ["b"]


def test_a_thousand_gates_cost_a_fetch_no_more_than_what_it_takes(
    place: Place, clock: Clock
) -> None:
    define(place, b_send="1 1000000 1")
    for start in range(0, 1000, 250):
        batch = [
            each for n in range(start, start + 250) for each in held(f"j{n}", holds=f"b:send:{n}")
        ]
        enqueue(place, *batch)
    taken: list[str] = []
    while len(taken) < 1000:
        some = take(place)
        assert len(some) > 100, "a call stays short, and brings what is worth it"
        taken += some
    assert sorted(taken) == sorted(f"j{n}" for n in range(1000))
