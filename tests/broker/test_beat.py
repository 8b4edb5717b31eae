"""beat.lua: keep a worker alive, and watch over the others."""

import pytest

from tests.broker.calls import (
    beat,
    deliver,
    enqueue,
    fetch,
    outcome,
    reap,
    register,
    revoke,
    settle,
)
from tests.broker.clock import Clock
from tests.broker.place import START, Place, new_job

pytestmark = pytest.mark.broker

LEASE = 30_000


def leases(place: Place) -> dict[str, float]:
    return place.dump()["lw"]


def test_a_beat_leaves_a_presence_and_the_word_that_queues_are_served(
    place: Place, clock: Clock
) -> None:
    register(place)
    assert beat(place, queues=["default", "mail"]) == (True, 0, [])
    assert place.dump() == {
        "lw": {"w1": START + LEASE},
        "w:w1": b"{}",
        "sv:default": b"",
        "sv:mail": b"",
        "t": str(START).encode(),
    }
    left = place.expiring()
    assert 290_000 < left["w:w1"] <= 300_000
    assert 50_000 < left["sv:default"] <= 60_000


def test_a_beat_renews_the_lease_from_now_on(place: Place, clock: Clock) -> None:
    register(place)
    clock.advance(10_000)
    assert beat(place, presence=b"new").alive
    dump = place.dump()
    assert (dump["lw"], dump["w:w1"]) == ({"w1": START + 40_000}, b"new")


def test_a_lease_that_has_run_out_is_renewed_while_nobody_has_reaped_it(
    place: Place, clock: Clock
) -> None:
    [delivery] = deliver(place, new_job("a"))
    place.lease("w1", until=START + 100)
    enqueue(place, new_job("b"))
    clock.advance(200)
    assert len(fetch(place).deliveries) == 1
    assert beat(place).alive
    assert leases(place) == {"w1": START + 200 + LEASE}
    assert reap(place).workers == []
    assert settle(place, outcome(delivery, "c", 0)) == "K"


def test_a_worker_without_a_lease_gets_none_by_beating(place: Place, clock: Clock) -> None:
    register(place)
    reap(place, "w1")
    before = place.dump()
    assert beat(place) == (False, 0, [])
    assert place.dump() == before


def test_a_beat_may_be_sent_again(place: Place, clock: Clock) -> None:
    register(place)
    beat(place)
    before = place.dump()
    assert beat(place).alive
    assert place.dump() == before


def test_a_beat_counts_the_workers_that_are_overdue(place: Place, clock: Clock) -> None:
    for worker in ("w1", "w2", "w3"):
        register(place, worker)
    for _ in range(3):
        clock.advance(LEASE // 3)
        beat(place)
    assert beat(place).overdue == 2
    assert reap(place).workers == ["w2", "w3"]
    assert beat(place).overdue == 0


def test_one_that_is_partly_reaped_is_overdue_until_it_is_done(place: Place, clock: Clock) -> None:
    deliver(place, new_job("a"), new_job("b"), worker="w2")
    register(place)
    reap(place, "w2", most=1)
    assert beat(place).overdue == 1
    reap(place)
    assert beat(place).overdue == 0


@pytest.mark.parametrize("watcher", ["beat", "register", "reap"])
def test_after_silence_every_lease_gets_its_time_again(
    place: Place, clock: Clock, watcher: str
) -> None:
    """Nobody watched, so the server may have been away: what was not renewed proves nothing."""
    for worker in ("w1", "w2"):
        register(place, worker)
    place.lease("long", until=START + 900_000)
    clock.advance(LEASE // 2 + 1)
    {"beat": beat, "reap": reap, "register": register}[watcher](place)
    ends = START + LEASE // 2 + 1 + LEASE
    assert leases(place)["w2"] == ends
    assert leases(place)["long"] == START + 900_000


def test_silence_of_half_a_lease_is_no_silence(place: Place, clock: Clock) -> None:
    for worker in ("w1", "w2"):
        register(place, worker)
    clock.advance(LEASE // 2)
    beat(place)
    assert leases(place) == {"w1": START + LEASE // 2 + LEASE, "w2": START + LEASE}


def test_no_grace_for_one_that_is_being_reaped(place: Place, clock: Clock) -> None:
    deliver(place, new_job("a"), new_job("b"), worker="w2")
    register(place)
    reap(place, "w2", most=1)
    clock.advance(LEASE * 3)
    beat(place)
    assert leases(place) == {"w1": START + 4 * LEASE, "w2": 0}
    assert not beat(place, "w2").alive


def test_leases_follow_a_clock_that_is_put_back(place: Place, clock: Clock) -> None:
    """After a failover to a server whose clock is behind: else the dead would live that longer."""
    register(place)
    register(place, "dead")
    register(place, "long", lease_ms=100_000)
    clock.advance(-3_600_000)
    assert beat(place).alive
    now = START - 3_600_000
    assert leases(place) == {"w1": now + LEASE, "dead": now + LEASE, "long": now + 100_000}
    for _ in range(3):
        clock.advance(LEASE // 3)
        beat(place)
    assert reap(place).workers == ["dead"]


def test_a_beat_brings_the_revokes_of_running_jobs_until_they_have_ended(
    place: Place, clock: Clock
) -> None:
    """The push of each may have been lost."""
    register(place)
    first, second = deliver(place, new_job("a"), new_job("b"))
    revoke(place, "a")
    revoke(place, "b", at_once=True)
    orders = {(first.entry_id, b"a"), (second.entry_id, b"b")}
    assert set(beat(place).revokes) == orders
    assert set(beat(place).revokes) == orders
    settle(place, outcome(first, "n", "+0"), outcome(second, "n", "+0"))
    assert beat(place).revokes == []
    assert "cx:w1" not in place.dump()


def test_an_order_is_about_one_delivery_and_never_about_a_later_job_of_the_same_id(
    place: Place, clock: Clock
) -> None:
    register(place)
    [first] = deliver(place, new_job("a", nonce="n1"))
    revoke(place, "a", at_once=True)
    place.admin("DEL", f"{place.prefix}j:a")  # as after its time
    clock.advance(200_000)
    [second] = deliver(place, new_job("a", nonce="n2"))
    assert beat(place).revokes == [(first.entry_id, b"a")]
    assert second.entry_id != first.entry_id


def test_a_beat_rings_again_for_what_nobody_has_fetched(place: Place, clock: Clock) -> None:
    """The token may have gone to a worker that is frozen, or whose host has died."""
    register(place)
    enqueue(place, new_job("a"), new_job("b", lane="mail:5"))
    place.admin("DEL", place.keys.bell("default"))
    beat(place)
    assert (place.bells(), place.bells("mail")) == (1, 1)

    assert len(fetch(place, lanes=["default:5", "mail:5"]).deliveries) == 2
    beat(place)
    assert (place.bells(), place.bells("mail")) == (0, 0)


def test_a_beat_rings_again_for_what_is_due(place: Place, clock: Clock) -> None:
    register(place)
    enqueue(place, new_job("a", due="+100"))
    place.admin("DEL", place.keys.bell("default"))
    beat(place)
    assert place.bells() == 0
    clock.advance(100)
    beat(place)
    assert place.bells() == 1
