"""reap.lua: take over what a dead worker held, and tidy up behind one that has left."""

import time

import pytest

from aioq.broker import scripts
from aioq.broker.scripts import Delivery, Update
from tests.broker.calls import (
    beat,
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
from tests.broker.place import CURRENT, FOREVER, START, Place, new_job, record, without

pytestmark = pytest.mark.broker

LEASE = 30_000
LANES = ["default:z", "mail:9", "default:5", "default:0"]


def ids(deliveries: list[Delivery]) -> list[str]:
    return [delivery.job_id.decode() for delivery in deliveries]


def many(place: Place, count: int, *, worker: str = "w1", lane: str = "default:5") -> None:
    """Let a worker hold many jobs."""
    place.lease(worker)
    for start in range(0, count, 250):
        enqueue(place, *(new_job(f"{worker} {lane} {start + n:04}", lane=lane) for n in range(250)))
        assert len(fetch(place, worker=worker, lanes=[lane]).deliveries) == 250


def pending(place: Place, worker: str = "w1") -> int:
    """Count what a worker holds, by the server's own list."""
    stream = f"{place.prefix}s:default:5"
    consumers = place.admin("XINFO", "CONSUMERS", stream, "w")
    return sum(fields[3] for fields in consumers if fields[1].decode() == worker)


def test_what_a_dead_worker_held_is_queued_again_at_once(place: Place, clock: Clock) -> None:
    deliver(place, new_job("a"), new_job("b", lane="mail:9"))
    token = place.token("a")
    clock.advance(70)
    assert reap(place, "w1") == (2, False, ["w1"])
    assert place.dump() == {
        "j:a": record("queued", token=CURRENT, ended=1, crashes=1),
        "j:b": record("queued", token=CURRENT, ended=1, crashes=1, lane="mail:9"),
        "s:default:5": [("a", b"<a>", None)],
        "s:mail:9": [("b", b"<b>", None)],
        "ss": {"default:5", "mail:9"},
        "l": {"default:5", "mail:9"},
        "b:default": 1,
        "b:mail": 1,
    }
    assert place.token("a") != token
    place.lease("w2")
    [again] = fetch(place, worker="w2").deliveries
    assert (again.payload, again.retries, again.deliveries) == (b"<a>", 0, 2)


def test_only_workers_whose_lease_has_ended_are_reaped(place: Place, clock: Clock) -> None:
    register(place, "dead")
    register(place, "alive")
    enqueue(place, new_job("a"), new_job("b"))
    fetch(place, worker="dead", room=1)
    fetch(place, worker="alive", room=1)
    for _ in range(3):
        assert reap(place) == (0, False, [])
        clock.advance(LEASE // 3)
        beat(place, "alive")
    assert reap(place) == (1, False, ["dead"])
    dump = place.dump()
    assert (dump["j:a"]["state"], dump["j:b"]["worker"]) == ("queued", "alive")
    assert set(dump["lw"]) == {"alive"}


def test_a_lease_ends_with_its_last_millisecond(place: Place, clock: Clock) -> None:
    place.lease("w1", until=START + 100)
    clock.advance(99)
    assert reap(place).workers == []
    clock.advance(1)
    assert reap(place).workers == ["w1"]


def test_a_call_that_was_held_up_while_the_server_stood_still_reaps_nothing(
    place: Place, clock: Clock
) -> None:
    for worker in ("w1", "w2"):
        register(place, worker)
        beat(place, worker)
    deliver(place, new_job("a"), worker="w1")
    place.lease("w1", until=START + LEASE)
    clock.advance(60_000)
    assert reap(place) == (0, False, [])
    assert place.dump()["lw"] == {"w1": START + 90_000, "w2": START + 90_000}
    for _ in range(3):  # then they have time to show that they live
        assert reap(place).workers == []
        clock.advance(LEASE // 3)
        beat(place, "w2")
    assert reap(place) == (1, False, ["w1"])


def test_the_dead_who_was_seen_needs_no_watch_and_gets_no_grace(place: Place, clock: Clock) -> None:
    register(place, "w2")
    deliver(place, new_job("a"))
    clock.advance(900_000)
    assert reap(place, "w1", lease_ms=0) == (1, False, ["w1"])
    assert place.dump()["lw"] == {"w2": START + LEASE}


def test_from_the_first_call_on_the_worker_can_neither_beat_nor_fetch(
    place: Place, clock: Clock
) -> None:
    deliveries = deliver(place, *(new_job(name) for name in "abcd"))
    enqueue(place, new_job("more"))
    assert reap(place, "w1", most=2) == (2, True, [])
    assert not beat(place).alive
    assert fetch(place).now_us == -1
    assert recover(place, known=[]) == 0
    assert (pending(place), place.dump()["lw"]) == (2, {"w1": 0})
    # What is left is its own until it is taken: its word counts once, the reaper's no more.
    assert settle(place, *(outcome(each, "c", 0) for each in deliveries)) == "SSKK"
    assert reap(place) == (0, False, ["w1"])


def test_a_call_takes_a_bounded_number_of_jobs_and_says_that_more_are_left(
    place: Place, clock: Clock
) -> None:
    many(place, 500)
    many(place, 500, lane="mail:9")
    found = [reap(place, "w1", most=250) for _ in range(4)]
    assert found == [(250, True, []), (250, True, []), (250, True, []), (250, False, ["w1"])]
    states = {job["state"] for name, job in place.dump().items() if name.startswith("j:")}
    assert states == {"queued"}
    assert reap(place, "w1") == (0, False, ["w1"])


def test_an_exact_batch_has_no_rest(place: Place, clock: Clock) -> None:
    deliver(place, new_job("a"), new_job("b", lane="mail:9"))
    assert reap(place, "w1", most=2) == (2, False, ["w1"])


def test_several_dead_workers_are_reaped_in_one_call_within_the_same_bound(
    place: Place, clock: Clock
) -> None:
    for n in range(6):
        deliver(place, new_job(f"{n} a"), new_job(f"{n} b"), worker=f"w{n}")
        place.lease(f"w{n}", until=START - n)
    assert reap(place, most=3) == (3, True, ["w5"])
    assert reap(place, most=250) == (7, True, ["w4", "w3", "w2", "w1"])
    assert reap(place, most=250) == (2, False, ["w0"])
    assert "lw" not in place.dump()


def test_reaping_is_fast_whatever_else_is_pending(place: Place, clock: Clock) -> None:
    """The budget is 100 ms for 1,000 jobs; the bound leaves room for a busy machine."""
    place.is_sound = False
    place.lease("busy")
    many(place, 250, worker="busy")
    stream = f"{place.prefix}s:default:5"
    place.admin("EVAL", _HUNDRED_THOUSAND, 0, stream)
    assert pending(place, "busy") == 100_250
    many(place, 1000)
    started = time.perf_counter()
    while reap(place, "w1").rest:
        pass
    assert time.perf_counter() - started < 2
    assert pending(place, "busy") == 100_250


_HUNDRED_THOUSAND = """
for n = 1, 100000 do redis.call('XADD', ARGV[1], '*', 'j', 'other', 'p', 'payload of another') end
redis.call('XREADGROUP', 'GROUP', 'w', 'busy', 'COUNT', 100000, 'STREAMS', ARGV[1], '>')
"""


def test_deleting_a_consumer_never_drops_what_it_holds(place: Place, clock: Clock) -> None:
    """A job dropped from a pending list would stay in the stream, and nobody would ever run it."""
    deliver(place, *(new_job(name) for name in "abcde"))
    deliver(place, new_job("f"), worker="w2")
    held = 5
    while held:
        assert pending(place) == held
        taken = reap(place, "w1", most=2).taken
        held -= taken
        assert taken
    assert pending(place, "w2") == 1
    assert sorted(ids(deliver(place, worker="w3"))) == ["a", "b", "c", "d", "e"]


def test_the_word_of_a_worker_that_was_reaped_is_refused_and_changes_nothing(
    place: Place, clock: Clock
) -> None:
    """A zombie: frozen for longer than its lease, and then it goes on as if nothing had been."""
    [delivery] = deliver(place, new_job("a"))
    reap(place, "w1")
    before = place.dump()
    noted = Update(delivery.job_id, delivery.entry_id, "p", b"half")
    assert place.run(scripts.update(place.prefix, count=1, updates=[noted])) == [False]
    for op, argument in [("c", 0), ("r", "+0"), ("f", ""), ("n", "+0"), ("u", 0), ("l", "")]:
        assert settle(place, outcome(delivery, op, argument, b"late")) == "S"
    assert not beat(place).alive
    assert fetch(place).now_us == -1
    assert recover(place, known=[]) == 0
    assert without(place.dump(), "t") == before


def test_a_job_that_waited_inside_the_worker_has_crashed_nothing(
    place: Place, clock: Clock
) -> None:
    waiting, started, plain = deliver(place, *(new_job(name) for name in "abc"))
    updates = [
        Update(waiting.job_id, waiting.entry_id, "v", b""),
        Update(started.job_id, started.entry_id, "v", b""),
        Update(started.job_id, started.entry_id, "s", b""),
        Update(plain.job_id, plain.entry_id, "p", b"half"),
    ]
    place.run(scripts.update(place.prefix, count=4, updates=updates))
    reap(place, "w1")
    dump = place.dump()
    assert dump["j:a"] == record("queued", token=CURRENT, ended=1)
    assert dump["j:b"] == dump["j:c"] == record("queued", token=CURRENT, ended=1, crashes=1)


def test_a_job_that_was_revoked_while_it_ran_does_not_run_again(place: Place, clock: Clock) -> None:
    deliver(place, new_job("a"))
    place.run(scripts.wait(place.prefix, client="c1", job_ids=["a"]))
    revoke(place, "a", keep_ms=3_600_000)
    clock.advance(50)
    assert reap(place, "w1") == (1, False, ["w1"])
    assert without(place.dump(), "t") == {
        "j:a": record("revoked", worker="w1", started=0, finished=50, value=b"revoked")
        | {"revoke": "3600000"},
    }
    assert 3_590_000 < place.expiring()["j:a"] <= 3_600_000


def test_what_expired_meanwhile_ends_at_the_next_fetch(place: Place, clock: Clock) -> None:
    deliver(place, new_job("a", expires="+10"))
    clock.advance(10)
    reap(place, "w1")
    assert deliver(place, worker="w2") == []
    assert place.dump()["j:a"]["state"] == "revoked"


def test_entries_that_are_no_jobs_or_belong_to_jobs_that_went_on_are_removed(
    place: Place, clock: Clock
) -> None:
    stream = f"{place.prefix}s:default:5"
    [delivery] = deliver(place, new_job("a"))
    settle(place, outcome(delivery, "c", 0))
    for fields in (["j", "a", "p", "old"], ["hello", "world"], ["j", "nobody", "p", ""]):
        place.admin("XADD", stream, "*", *fields)
    place.admin("XREADGROUP", "GROUP", "w", "w1", "STREAMS", stream, ">")
    assert reap(place, "w1") == (3, False, ["w1"])
    assert set(place.dump()) == {"j:a"}


def test_a_worker_that_leaves_gives_back_what_it_holds_and_nothing_is_counted(
    place: Place, clock: Clock
) -> None:
    register(place)
    beat(place)
    enqueue(place, new_job("a"))
    fetch(place)
    assert reap(place, "w1", is_crash=False, lease_ms=0) == (1, False, ["w1"])
    assert place.dump() == {
        "j:a": record("queued", token=CURRENT, ended=1),
        "s:default:5": [("a", b"<a>", None)],
        "ss": {"default:5"},
        "l": {"default:5"},
        "b:default": 1,
        "sv:default": b"",
        "t": str(START).encode(),
    }


def test_the_last_worker_of_an_empty_system_leaves_nothing_but_what_expires(
    place: Place, clock: Clock
) -> None:
    register(place)
    beat(place)
    deliveries = deliver(place, new_job("a"), new_job("b", lane="mail:9"))
    settle(place, *(outcome(each, "c", 0) for each in deliveries))
    recover(place, known=[])
    reap(place, "w1", is_crash=False)
    assert set(place.dump()) == {"j:a", "j:b", "sv:default", "t"}
    assert set(place.expiring()) == {"j:a", "j:b", "sv:default"}


def test_what_is_still_in_a_lane_stays_and_so_does_a_lane_that_another_reads(
    place: Place, clock: Clock
) -> None:
    deliveries = deliver(place, new_job("a"), new_job("b", lane="mail:9"))
    deliveries += deliver(place, new_job("c"), worker="w2")
    settle(place, *(outcome(each, "c", 0) for each in deliveries))
    enqueue(place, new_job("d", lane="default:0"))
    reap(place, "w1", is_crash=False)
    dump = place.dump()
    assert dump["s:default:5"] == []
    assert dump["s:default:0"] == [("d", b"<d>", None)]
    assert "s:mail:9" not in dump
    assert (dump["lw"], dump["ss"], dump["b:default"]) == ({"w2": FOREVER}, {"default:5"}, 1)
    reap(place, "w2", is_crash=False)
    assert [name for name in place.dump() if name.startswith("s:")] == ["s:default:0"]


def test_no_token_is_left_on_the_doorbell_of_an_empty_queue(place: Place, clock: Clock) -> None:
    [delivery] = deliver(place, new_job("a"))
    settle(place, outcome(delivery, "c", 0))
    place.run(scripts.ring(place.prefix, queue="default"))
    reap(place, "w1", is_crash=False)
    assert place.bells() == 0


def test_reaping_may_be_sent_again_and_so_may_that_of_one_who_never_was(
    place: Place, clock: Clock
) -> None:
    deliver(place, new_job("a"))
    reap(place, "w1")
    before = place.dump()
    clock.advance(5)
    assert reap(place, "w1") == (0, False, ["w1"])
    assert reap(place, "nobody") == (0, False, ["nobody"])
    assert reap(place) == (0, False, [])
    assert without(place.dump(), "t") == before


def test_a_stream_that_was_deleted_by_hand_stops_nothing(place: Place, clock: Clock) -> None:
    place.is_sound = False
    deliver(place, new_job("a"), new_job("b", lane="mail:9"))
    place.admin("DEL", f"{place.prefix}s:default:5")
    assert reap(place, "w1") == (1, False, ["w1"])
    assert place.dump()["ss"] == {"mail:9"}


def test_a_lane_that_cannot_be_read_is_not_forgotten(place: Place, clock: Clock) -> None:
    """Forgotten, what the dead worker held there would never be run."""
    place.is_sound = False
    deliver(place, new_job("a"), new_job("b", lane="mail:9"))
    place.admin("RENAME", f"{place.prefix}s:default:5", f"{place.prefix}elsewhere")
    place.admin("SET", f"{place.prefix}s:default:5", "no stream")
    with pytest.raises(Exception, match="WRONGTYPE"):
        reap(place, "w1")
    place.admin("RENAME", f"{place.prefix}elsewhere", f"{place.prefix}s:default:5")
    while reap(place, "w1").rest:
        pass
    assert sorted(ids(deliver(place, new_job("c", lane="mail:9"), worker="w2"))) == ["a", "b", "c"]


def test_another_app_on_the_same_server_is_left_alone(place: Place, clock: Clock) -> None:
    other = "{other.0}:"
    mine, place.prefix = place.prefix, other
    try:
        Clock(place)
        deliver(place, new_job("a"), new_job("b", lane="mail:9"))
        revoke(place, "a")
    finally:
        place.prefix = mine
    place.admin("ZADD", f"{other}lw", 1, "w1")
    before = place.admin("EVAL", _DUMP, 0, other)
    deliver(place, new_job("a"))
    place.lease("w1", until=1)
    reap(place)
    reap(place, "w1")
    recover(place, known=[])
    revoke(place, "a", "b", at_once=True)
    assert place.admin("EVAL", _DUMP, 0, other) == before
    assert len(before) > 5
    place.admin("DEL", *before[::2])


_DUMP = """
local found = {}
local keys = redis.call('KEYS', ARGV[1] .. '*')
table.sort(keys)
for _, key in ipairs(keys) do
  found[#found + 1] = key
  found[#found + 1] = redis.call('DUMP', key)
end
return found
"""
