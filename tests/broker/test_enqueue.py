"""enqueue.lua: create jobs, each of them once."""

import pytest

from tests.broker.calls import beat, deliver, enqueue, outcome, register, settle
from tests.broker.clock import Clock
from tests.broker.place import CURRENT, START, Place, new_job, record

pytestmark = pytest.mark.broker


def test_a_job_gets_a_record_and_an_entry_in_its_lane_and_rings_one_doorbell(
    place: Place, clock: Clock
) -> None:
    assert enqueue(place, new_job("a")).created == [True]
    assert place.dump() == {
        "j:a": record("queued", token=CURRENT),
        "s:default:5": [("a", b"<a>", None)],
        "l": {"default:5"},
        "b:default": 1,
    }


def test_many_jobs_of_several_lanes_are_one_call(place: Place, clock: Clock) -> None:
    made = enqueue(
        place, new_job("a"), new_job("b", lane="mail:9"), new_job("c"), new_job("d", lane="mail:0")
    )
    assert made.created == [True] * 4
    assert place.dump() == {
        "j:a": record("queued", token=CURRENT),
        "j:b": record("queued", token=CURRENT, lane="mail:9"),
        "j:c": record("queued", token=CURRENT),
        "j:d": record("queued", token=CURRENT, lane="mail:0"),
        "s:default:5": [("a", b"<a>", None), ("c", b"<c>", None)],
        "s:mail:9": [("b", b"<b>", None)],
        "s:mail:0": [("d", b"<d>", None)],
        "l": {"default:5", "mail:9", "mail:0"},
        "b:default": 2,
        "b:mail": 2,
    }


def test_a_call_sent_again_makes_nothing_new_and_says_again_that_it_made_the_jobs(
    place: Place, clock: Clock
) -> None:
    jobs = new_job("a"), new_job("b", due="+5000"), new_job("mine", nonce="n1")
    first = enqueue(place, *jobs)
    before = place.dump()
    clock.advance(1000)
    assert enqueue(place, *jobs) == first
    assert place.dump() == before


def test_one_call_may_name_a_job_twice(place: Place, clock: Clock) -> None:
    assert enqueue(place, new_job("a"), new_job("a")).created == [True, True]
    assert place.dump()["s:default:5"] == [("a", b"<a>", None)]


def test_a_second_call_with_an_id_of_the_users_is_told_that_the_job_was_there(
    place: Place, clock: Clock
) -> None:
    assert enqueue(place, new_job("mine", nonce="n1")).created == [True]
    before = place.dump()
    assert before["j:mine"] == record("queued", token=CURRENT, nonce="n1")
    other = new_job("mine", nonce="n2", lane="mail:5", task="send", payload=b"other")
    assert enqueue(place, other).created == [False]
    assert place.dump() == before


def test_the_id_of_a_running_a_delayed_and_a_finished_job_is_known_too(
    place: Place, clock: Clock
) -> None:
    [running] = deliver(place, new_job("a", nonce="n1"), new_job("b", nonce="n1", due="+500"))
    again = new_job("a", nonce="n2"), new_job("b", nonce="n2")
    assert enqueue(place, *again).created == [False, False]
    settle(place, outcome(running, "c", 0))
    assert enqueue(place, *again).created == [False, False]


@pytest.mark.parametrize("due", ["+5000", str(START + 5000)])
def test_a_job_for_later_waits_in_the_delayed_set_with_its_payload(
    place: Place, clock: Clock, due: str
) -> None:
    enqueue(place, new_job("a", due=due))
    assert place.dump() == {
        "j:a": record("delayed", due=START + 5000),
        "y:a": b"<a>",
        "d": {"a": START + 5000},
        "b:default": 1,
    }


def test_only_a_new_earliest_due_time_wakes_a_worker(place: Place, clock: Clock) -> None:
    enqueue(place, new_job("a", due="+5000"))
    assert place.bells() == 1
    enqueue(place, new_job("b", due="+6000"), new_job("c", due="+5000"))
    assert place.bells() == 1
    enqueue(place, new_job("d", due="+4000"), new_job("e", due="+3000"))
    assert place.bells() == 2


def test_each_queue_has_an_earliest_due_time_of_its_own(place: Place, clock: Clock) -> None:
    """Who serves the queue of the earliest of all may be full by then, and looks at nothing."""
    enqueue(place, new_job("a", due="+1000"), new_job("b", due="+3000", lane="mail:5"))
    assert (place.bells(), place.bells("mail")) == (1, 1)
    enqueue(place, new_job("c", due="+4000", lane="mail:9"), new_job("d", due="+2000"))
    assert (place.bells(), place.bells("mail")) == (1, 1)
    enqueue(place, new_job("e", due="+2000", lane="mail:0"))
    assert (place.bells(), place.bells("mail")) == (1, 2)


def test_a_due_time_that_has_passed_does_not_hide_the_next_one(place: Place, clock: Clock) -> None:
    enqueue(place, new_job("a", due="+1000"))
    place.admin("DEL", place.keys.bell("default"))
    clock.advance(999)
    enqueue(place, new_job("b", due="+60000"))
    assert place.bells() == 0, "who waits for the first will see it"
    clock.advance(1)
    enqueue(place, new_job("c", due="+60000"))
    assert place.bells() == 1


def test_what_idle_workers_know_of_is_forgotten_when_it_is_due(place: Place, clock: Clock) -> None:
    enqueue(place, new_job("a", due="+5000"))
    assert 0 < place.admin("PTTL", f"{place.prefix}da:default") <= 5000
    enqueue(place, new_job("b", due="+5000", expires="-1"))  # which is due at once, to end
    assert place.admin("PTTL", f"{place.prefix}da:default") in {0, 1, -2}


def test_jobs_that_are_ready_and_a_due_time_ring_together(place: Place, clock: Clock) -> None:
    enqueue(place, new_job("a"), new_job("b", due="+10"), new_job("c"), new_job("d", due="+9"))
    assert place.bells() == 3


@pytest.mark.parametrize("due", ["+0", str(START), str(START - 1), "-62135596800000"])
def test_a_job_that_is_due_already_is_queued_at_once(place: Place, clock: Clock, due: str) -> None:
    enqueue(place, new_job("a", due=due))
    assert place.dump()["j:a"] == record("queued", token=CURRENT)


def test_a_job_that_expires_before_it_is_due_ends_when_it_expires(
    place: Place, clock: Clock
) -> None:
    enqueue(place, new_job("a", due="+5000", expires="+1000"))
    assert place.dump() == {
        "j:a": record("delayed", due=START + 5000, expires=START + 1000),
        "y:a": b"<a>",
        "d": {"a": START + 1000},
        "b:default": 1,
    }


def test_the_expiry_is_kept_as_a_moment(place: Place, clock: Clock) -> None:
    enqueue(place, new_job("a", expires="+1000"), new_job("b", expires=str(START + 7)))
    dump = place.dump()
    assert dump["j:a"] == record("queued", token=CURRENT, expires=START + 1000)
    assert dump["j:b"] == record("queued", token=CURRENT, expires=START + 7)


def test_the_doorbell_never_has_more_than_16_tokens(place: Place, clock: Clock) -> None:
    for turn in range(3):
        enqueue(place, *(new_job(f"{turn}-{n}") for n in range(10)))
    assert place.bells() == 16


def test_queues_that_no_live_worker_serves_are_named(place: Place, clock: Clock) -> None:
    register(place)
    beat(place, queues=["mail"])
    made = enqueue(place, new_job("a"), new_job("b", lane="mail:5"), new_job("c", due="+9"))
    assert made.unserved == ["default"]


def test_a_job_id_may_be_128_characters_of_any_printable_ascii(place: Place, clock: Clock) -> None:
    job_id = "!\"#$%&'()*+,-./0:;<=>?@A[\\]^_`a|~".ljust(128, "x")
    enqueue(place, new_job(job_id))
    assert place.dump()[f"j:{job_id}"] == record("queued", token=CURRENT)
