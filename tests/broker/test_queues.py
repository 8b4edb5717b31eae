"""The scripts in queues/: whether a queue is handed out, and what it holds."""

import pytest

from aioq.broker import queues, scripts
from aioq.broker.queues import Figures
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
    settle,
)
from tests.broker.clock import Clock
from tests.broker.place import START, Place, broker_on, new_job

pytestmark = pytest.mark.broker

LANES = ("default:z", "mail:z", "mail:9", "default:5", "mail:5")


def pause(place: Place, queue: str = "default") -> bool:
    return place.run(queues.pause(place.prefix, queue=queue))


def resume(place: Place, queue: str = "default") -> bool:
    return place.run(queues.resume(place.prefix, queue=queue))


def figures(place: Place, *names: str) -> list[Figures]:
    return place.run(queues.figures(place.prefix, queues=names or ["default"]))


def backlog(place: Place, *lanes: str) -> int:
    return place.run(scripts.backlog(place.prefix, lanes=lanes or LANES))


def jobs_of(place: Place, **options: object) -> list[str]:
    fetched = fetch(place, lanes=LANES, **options)  # pyright: ignore[reportArgumentType]
    return [delivery.job_id.decode() for delivery in fetched.deliveries]


def test_a_pause_and_its_end_say_whether_they_changed_anything(place: Place, clock: Clock) -> None:
    assert pause(place)
    assert place.dump() == {"qp": {"default"}}
    assert not pause(place)
    assert pause(place, "mail")
    assert place.dump() == {"qp": {"default", "mail"}}
    assert resume(place)
    assert not resume(place)
    assert resume(place, "mail")
    assert place.dump() == {}


def test_nothing_of_a_paused_queue_is_handed_out_and_all_of_the_others(
    place: Place, clock: Clock
) -> None:
    place.lease("w1")
    crash(place, new_job("suspect"), times=2)
    clock.advance(4_000)
    place.lease("w1")
    enqueue(place, new_job("a"), new_job("b", lane="mail:5"), new_job("c", lane="mail:9"))
    pause(place)
    assert jobs_of(place) == ["c", "b"]
    assert jobs_of(place) == []
    resume(place)
    assert jobs_of(place) == ["suspect", "a"]


def test_what_runs_goes_on_and_what_it_leaves_behind_waits(place: Place, clock: Clock) -> None:
    done, retried, given_back = deliver(place, new_job("a"), new_job("b"), new_job("c"))
    pause(place)
    assert settle(
        place,
        outcome(done, "c", 1000, b"1"),
        outcome(retried, "r", "+0", b"error"),
        outcome(given_back, "n", "+0"),
    ) == "KKK"  # fmt: skip
    assert (place.bells(), jobs_of(place)) == (0, [])
    assert resume(place)
    assert (place.bells(), sorted(jobs_of(place))) == (2, ["b", "c"])


def test_jobs_of_a_dead_worker_and_of_a_lost_reply_wait_too(place: Place, clock: Clock) -> None:
    deliver(place, new_job("a"), worker="dead")
    deliver(place, new_job("b"))
    pause(place)
    reap(place, "dead", is_crash=False)
    assert recover(place, known=[]) == 1
    assert (place.bells(), jobs_of(place, epoch=1)) == (0, [])
    resume(place)
    assert place.bells() == 2


def test_an_enqueue_works_and_rings_for_nobody(place: Place, clock: Clock) -> None:
    place.lease("w1")
    pause(place)
    assert enqueue(place, new_job("a"), new_job("b")).created == [True, True]
    assert place.bells() == 0
    assert enqueue(place, new_job("c", lane="mail:5")).created == [True]
    assert place.bells("mail") == 1
    resume(place)
    assert (place.bells(), jobs_of(place)) == (2, ["a", "b", "c"])


def test_what_a_single_enqueue_rings_is_silenced_by_the_first_who_looks(
    place: Place, clock: Clock
) -> None:
    place.lease("w1")
    pause(place)
    assert enqueue(place, new_job("a"), ask=False).created == [True]
    assert (place.bells(), jobs_of(place)) == (1, [])
    assert place.bells() == 0


def test_a_pause_takes_the_tokens_that_lie_there(place: Place, clock: Clock) -> None:
    enqueue(place, new_job("a"), new_job("b", lane="mail:5"))
    pause(place)
    assert (place.bells(), place.bells("mail")) == (0, 1)


def test_a_job_becomes_due_under_a_pause_and_waits_in_its_lane(place: Place, clock: Clock) -> None:
    place.lease("w1")
    enqueue(place, new_job("a", due="+100", lane="mail:9"))
    pause(place, "mail")
    clock.advance(100)
    assert jobs_of(place) == []
    assert place.dump()["j:a"]["state"] == "queued"
    assert (place.bells("mail"), figures(place, "mail")) == (0, [Figures(1, 0, 0, 0, 1)])
    resume(place, "mail")
    assert jobs_of(place) == ["a"]


def test_a_new_earliest_due_time_wakes_a_worker_even_under_a_pause(
    place: Place, clock: Clock
) -> None:
    """Who hears of it may serve other queues too, and its timer is theirs."""
    pause(place)
    enqueue(place, new_job("a", due="+100"), new_job("ready"))
    assert place.bells() == 1
    enqueue(place, new_job("b", due="+200"))
    assert place.bells() == 1
    place.lease("w1")
    assert fetch(place, lanes=LANES).next_ms == START + 100


def test_a_job_expires_under_a_pause(place: Place, clock: Clock) -> None:
    """It ends when somebody looks: with the pause, or as it becomes due."""
    place.lease("w1")
    enqueue(place, new_job("a", expires="+100"), new_job("b", due="+50", expires="+40"))
    pause(place)
    clock.advance(100)
    assert jobs_of(place) == []
    assert place.dump()["j:b"]["state"] == "revoked"
    resume(place)
    assert jobs_of(place) == []
    assert (place.dump()["j:a"]["state"], place.dump()["j:a"]["value"]) == ("revoked", b"expired")


def test_lower_priorities_of_a_paused_queue_are_not_passed_over(place: Place, clock: Clock) -> None:
    place.lease("w1")
    enqueue(place, new_job("a"), *(new_job(f"m{n}", lane="mail:9") for n in range(3)))
    assert fetch(place, lanes=LANES, room=1).passed
    pause(place)
    assert not fetch(place, lanes=LANES, room=1).passed


def test_a_beat_does_not_ring_again_for_what_is_paused(place: Place, clock: Clock) -> None:
    register(place)
    enqueue(place, new_job("a"), new_job("b", lane="mail:5"))
    pause(place)
    place.admin("DEL", place.keys.bell("mail"))
    beat(place)
    assert (place.bells(), place.bells("mail")) == (0, 1)


def test_a_beat_rings_again_for_what_is_due_and_paused_until_somebody_has_promoted_it(
    place: Place, clock: Clock
) -> None:
    """Else what is due behind it, in another queue, would not be seen."""
    register(place)
    enqueue(place, new_job("a", due="+100"))
    pause(place)
    place.admin("DEL", place.keys.bell("default"))
    clock.advance(100)
    beat(place)
    assert place.bells() == 1
    assert jobs_of(place) == []
    assert place.bells() == 0
    beat(place)
    assert place.bells() == 0


def test_a_beat_reads_the_queue_of_a_gate_from_its_name(place: Place, clock: Clock) -> None:
    place.is_sound = False  # a gate without jobs
    register(place)
    place.admin("ZADD", f"{place.prefix}d", START, "mail:5 b:stripe:")
    beat(place)
    assert (place.bells("mail"), place.bells()) == (1, 0)


def test_a_backlog_leaves_out_what_is_paused_and_the_timers_of_gates(
    place: Place, clock: Clock
) -> None:
    place.is_sound = False  # gates without jobs
    enqueue(place, new_job("a"), new_job("b", lane="mail:9"), new_job("c", due="+10"))
    place.admin("ZADD", f"{place.prefix}d", START, "mail:5 b:stripe:", START, "default:5 c:x:1")
    clock.advance(10)
    assert backlog(place) == 3
    pause(place)
    assert backlog(place) == 1
    pause(place, "mail")
    assert backlog(place) == 0
    resume(place)
    assert backlog(place) == 2


def test_a_backlog_counts_gates_that_may_let_jobs_through(place: Place, clock: Clock) -> None:
    place.is_sound = False  # gates without jobs
    ready_gates = f"{place.prefix}hr:mail:5"
    place.admin("ZADD", ready_gates, -1, "")
    assert backlog(place) == 0
    place.admin("ZADD", ready_gates, 1, "mail:5 b:x:", 2, "mail:5 b:y:")
    assert backlog(place) == 2
    pause(place, "mail")
    assert backlog(place) == 0


def test_a_backlog_with_more_due_than_it_looks_at_is_never_none(place: Place, clock: Clock) -> None:
    place.is_sound = False  # gates without jobs
    gates = [each for n in range(300) for each in (START, f"mail:5 b:x:{n}")]
    place.admin("ZADD", f"{place.prefix}d", *gates)
    enqueue(place, new_job("a", due="+1"))
    clock.advance(1)
    assert backlog(place) > 0


def test_the_figures_of_a_queue(place: Place, clock: Clock) -> None:
    assert figures(place, "default", "mail") == [Figures(0, 0, 0, -1, 0)] * 2
    enqueue(place, new_job("a"))
    clock.advance(1000)
    enqueue(place, new_job("b"), new_job("c", lane="mail:0"), new_job("d", lane="mail:9"))
    enqueue(place, new_job("e", due="+5000"))
    clock.advance(500)
    pause(place, "mail")
    assert figures(place, "default", "mail", "other") == [
        Figures(2, 0, 0, 1500, 0),
        Figures(2, 0, 0, 500, 1),
        Figures(0, 0, 0, -1, 0),
    ]


def test_what_a_worker_has_is_running_and_no_longer_waits(place: Place, clock: Clock) -> None:
    [first, _] = deliver(place, new_job("a"), new_job("b"))
    clock.advance(1000)
    enqueue(place, new_job("c"))
    clock.advance(200)
    assert figures(place) == [Figures(1, 0, 2, 200, 0)]
    settle(place, outcome(first, "n", "+0"))
    clock.advance(100)
    assert figures(place) == [Figures(2, 0, 1, 300, 0)]


def test_suspects_are_ready_too(place: Place, clock: Clock) -> None:
    crash(place, new_job("a"), times=2)
    place.lease("w1")
    clock.advance(4_000)
    fetch(place, lanes=["default:5"])
    assert figures(place) == [Figures(1, 0, 0, 0, 0)]


def test_jobs_that_are_held_by_limits_are_counted_with_their_age(
    place: Place, clock: Clock
) -> None:
    enqueue(place, new_job("a", lane="mail:3 c:one:"), new_job("b", lane="mail:7 c:one:"))
    clock.advance(2_000)
    assert figures(place, "mail") == [Figures(0, 2, 0, 2000, 0)]
    place.lease("w1")
    place.admin("HSET", f"{place.prefix}lc", "c:one", "1 code 1")
    assert len(fetch(place, lanes=["mail:7", "mail:3"]).deliveries) == 1
    assert figures(place, "mail") == [Figures(0, 1, 1, 2000, 0)]
    pause(place, "mail")
    assert backlog(place, "mail:7", "mail:3") == 0


async def test_queues_are_found_by_their_lanes_and_by_their_pause(
    place: Place, clock: Clock
) -> None:
    async with broker_on(place) as broker:
        assert await queues.names(broker) == set()
        deliver(place, new_job("a", lane="running:5"))
        enqueue(place, new_job("b", lane="waiting:0"), new_job("c", lane="delayed:0", due="+9"))
        pause(place, "paused")
        assert await queues.names(broker) == {"running", "waiting", "paused"}
