"""fetch.lua: promote what is due, then hand out jobs, the best lane first."""

import pytest

from aioq.broker import scripts
from aioq.broker.scripts import Delivery, Fetched
from aioq.core.errors import AioqError
from tests.broker import calls
from tests.broker.calls import enqueue
from tests.broker.clock import Clock
from tests.broker.place import CURRENT, FOREVER, START, Place, new_job, record

pytestmark = pytest.mark.broker

LANES = ["mail:9", "default:9", "default:5"]
LEASED = {"lw": {"w1": FOREVER}}


def fetch(place: Place, *, room: int = 10, worker: str = "w1") -> Fetched:
    return calls.fetch(place, worker=worker, room=room, lanes=LANES)


def names(fetched: Fetched) -> list[str]:
    return [delivery.job_id.decode() for delivery in fetched.deliveries]


@pytest.fixture(autouse=True)
def leased(place: Place) -> None:
    place.lease("w1")


def test_a_fetched_job_belongs_to_the_worker_until_it_is_settled(
    place: Place, clock: Clock
) -> None:
    enqueue(place, new_job("a"))
    token = place.token("a")
    clock.advance(40)
    fetched = fetch(place)
    assert fetched == Fetched(
        now_us=(START + 40) * 1000,
        next_ms=0,
        dropped=[],
        passed=False,
        deliveries=[Delivery(token, b"a", b"add", 2, 0, 1, 0, b"<a>")],
    )
    assert place.dump() == {
        **LEASED,
        "ss": {"default:5"},
        "j:a": record("running", token=CURRENT, worker="w1", started=40),
        "s:default:5": [("a", b"<a>", "w1")],
    }
    assert place.token("a") == token


def test_a_job_is_handed_out_once(place: Place, clock: Clock) -> None:
    place.lease("w2")
    enqueue(place, new_job("a"))
    assert names(fetch(place)) == ["a"]
    assert names(fetch(place)) == []
    assert names(fetch(place, worker="w2")) == []


def test_lanes_are_emptied_in_the_order_given_and_each_first_in_first_out(
    place: Place, clock: Clock
) -> None:
    enqueue(
        place,
        new_job("a"),
        new_job("b", lane="default:9"),
        new_job("c"),
        new_job("d", lane="mail:9"),
        new_job("e", lane="default:9"),
    )
    fetched = fetch(place)
    assert names(fetched) == ["d", "b", "e", "a", "c"]
    assert [delivery.lane for delivery in fetched.deliveries] == [0, 1, 1, 2, 2]


def test_no_more_jobs_are_taken_than_there_is_room_for(place: Place, clock: Clock) -> None:
    enqueue(place, *(new_job(name) for name in "abcde"), new_job("z", lane="mail:9"))
    assert names(fetch(place, room=3)) == ["z", "a", "b"]
    assert place.dump()["l"] == {"default:5"}
    assert names(fetch(place, room=2)) == ["c", "d"]
    assert names(fetch(place, room=2)) == ["e"]
    assert "l" not in place.dump()


def test_without_room_nothing_is_taken_but_what_is_due_is_promoted(
    place: Place, clock: Clock
) -> None:
    enqueue(place, new_job("a", due="+10"), new_job("b"))
    clock.advance(10)
    assert fetch(place, room=0).deliveries == []
    assert place.dump()["s:default:5"] == [("b", b"<b>", None), ("a", b"<a>", None)]


def test_lanes_that_were_not_asked_for_are_left_alone(place: Place, clock: Clock) -> None:
    enqueue(place, new_job("a", lane="other:5"))
    before = place.dump()
    assert names(fetch(place)) == []
    assert place.dump() == before


def test_what_arrived_before_the_first_worker_is_not_skipped(place: Place, clock: Clock) -> None:
    enqueue(place, new_job("a"))
    assert place.admin("XINFO", "GROUPS", f"{place.prefix}s:default:5") == []
    assert names(fetch(place)) == ["a"]


def test_an_emptied_queue_loses_its_tokens_and_a_rest_wakes_one_more_worker(
    place: Place, clock: Clock
) -> None:
    enqueue(place, *(new_job(str(n)) for n in range(5)))
    assert place.bells() == 5
    place.admin("DEL", place.keys.bell("default"))
    fetch(place, room=3)
    assert place.bells() == 1
    fetch(place)
    assert place.bells() == 0


@pytest.mark.parametrize("worker", ["w2", "", "w1 "])
def test_a_worker_without_a_lease_gets_nothing(place: Place, clock: Clock, worker: str) -> None:
    enqueue(place, new_job("a"), new_job("b", due="+1"))
    clock.advance(1)
    before = place.dump()
    assert fetch(place, worker=worker) == Fetched(-1, 0, [], passed=False, deliveries=[])
    assert place.dump() == before


def test_a_job_runs_when_it_is_due_and_not_a_millisecond_before(place: Place, clock: Clock) -> None:
    enqueue(place, new_job("a", due="+1000"))
    clock.advance(999)
    early = fetch(place)
    assert (early.deliveries, early.next_ms) == ([], START + 1000)
    clock.advance(1)
    [delivery] = fetch(place).deliveries
    assert delivery == Delivery(place.token("a"), b"a", b"add", 2, 0, 1, START + 1000, b"<a>")
    assert place.dump() == {
        **LEASED,
        "ss": {"default:5"},
        "j:a": record("running", token=CURRENT, worker="w1", started=1000, due=START + 1000),
        "s:default:5": [("a", b"<a>", "w1")],
    }


def test_due_jobs_are_promoted_in_the_order_of_their_due_times_and_others_wait_on(
    place: Place, clock: Clock
) -> None:
    enqueue(place, new_job("c", due="+30"), new_job("a", due="+10"), new_job("later", due="+100"))
    clock.advance(50)
    fetched = fetch(place)
    assert names(fetched) == ["a", "c"]
    assert fetched.next_ms == START + 100
    assert place.dump()["d"] == {"later": START + 100}


def test_due_jobs_of_queues_that_this_worker_does_not_serve_are_promoted_and_wake_another(
    place: Place, clock: Clock
) -> None:
    enqueue(place, new_job("a", due="+10", lane="other:5"))
    place.admin("DEL", place.keys.bell("other"))
    clock.advance(10)
    assert fetch(place).deliveries == []
    dump = place.dump()
    assert dump["j:a"] == record("queued", token=CURRENT, lane="other:5", due=START + 10)
    assert (dump["l"], dump["b:other"]) == ({"other:5"}, 1)


def test_one_call_promotes_200_jobs_and_says_that_more_are_due(place: Place, clock: Clock) -> None:
    jobs = [new_job(f"{n:03}", due="+10") for n in range(450)]
    for start in (0, 225):
        enqueue(place, *jobs[start : start + 225])
    clock.advance(10)
    seen: list[str] = []
    for promoted, more in [(200, True), (200, True), (50, False)]:
        fetched = fetch(place, room=250)
        seen += names(fetched)
        assert (len(fetched.deliveries), fetched.next_ms == START + 10) == (promoted, more)
    assert seen == [job.job_id for job in jobs]


def test_a_job_that_expired_in_its_lane_is_revoked_and_takes_no_room(
    place: Place, clock: Clock
) -> None:
    enqueue(place, new_job("a", expires="+10"), new_job("b"))
    clock.advance(10)
    fetched = fetch(place, room=1)
    assert (names(fetched), fetched.dropped) == (["b"], [])
    assert place.dump() == {
        **LEASED,
        "j:a": record("revoked", value=b"expired", finished=10, expires=START + 10),
        "j:b": record("running", token=CURRENT, worker="w1", started=10),
        "s:default:5": [("b", b"<b>", "w1")],
        "ss": {"default:5"},
        "l": {"default:5"},
        "b:default": 3,
    }
    assert 3_590_000 < place.expiring()["j:a"] <= 3_600_000


def test_a_job_does_not_expire_a_millisecond_early(place: Place, clock: Clock) -> None:
    enqueue(place, new_job("a", expires="+10"))
    clock.advance(9)
    assert names(fetch(place)) == ["a"]


def test_a_delayed_job_that_expired_is_revoked_with_its_payload_gone(
    place: Place, clock: Clock
) -> None:
    enqueue(place, new_job("a", due="+5000", expires="+1000"))
    clock.advance(1000)
    assert fetch(place).deliveries == []
    assert place.dump() == {
        **LEASED,
        "j:a": record(
            "revoked", value=b"expired", finished=1000, due=START + 5000, expires=START + 1000
        ),
    }


def test_a_delayed_job_that_expired_leaves_no_token_where_nobody_serves_its_queue(
    place: Place, clock: Clock
) -> None:
    enqueue(place, new_job("a", lane="other:5", due="+9000", expires="+10"))
    assert place.bells("other") == 1
    clock.advance(10)
    fetch(place)
    calls.reap(place, "w1", is_crash=False)
    assert set(place.dump()) == {"j:a"}


def test_who_waits_for_a_job_is_told_that_it_expired(place: Place, clock: Clock) -> None:
    enqueue(place, new_job("a", expires="+10"))
    place.run(scripts.wait(place.prefix, client="c1", job_ids=["a"]))
    clock.advance(10)
    fetch(place)
    assert place.dump()["j:a"] == record(
        "revoked", value=b"expired", finished=10, expires=START + 10
    )


def test_entries_that_are_no_jobs_of_ours_are_removed_and_reported(
    place: Place, clock: Clock
) -> None:
    stream = f"{place.prefix}s:default:5"
    strangers = [
        place.admin("XADD", stream, "*", "hello", "world"),
        place.admin("XADD", stream, "*", "j", "nobody", "p", ""),
        place.admin("XADD", stream, "*", "j", "a"),
        place.admin("XADD", stream, "*", "p", "x", "j", "y"),
        place.admin("XADD", stream, "*", "j", "", "p", ""),
    ]
    enqueue(place, new_job("a"))
    fetched = fetch(place)
    assert names(fetched) == ["a"]
    assert fetched.dropped == [f"default:5 {entry.decode()}" for entry in strangers]
    assert place.dump()["s:default:5"] == [("a", b"<a>", "w1")]


def test_an_old_entry_of_a_job_that_has_a_newer_one_is_removed_and_not_run(
    place: Place, clock: Clock
) -> None:
    place.admin("XADD", f"{place.prefix}s:default:5", "*", "j", "a", "p", "old")
    enqueue(place, new_job("a"))
    fetched = fetch(place)
    assert [delivery.payload for delivery in fetched.deliveries] == [b"<a>"]
    assert len(fetched.dropped) == 1


def test_one_call_looks_at_a_bounded_number_of_entries(place: Place, clock: Clock) -> None:
    for start in range(0, 1000, 250):
        enqueue(place, *(new_job(str(start + n), expires="+1") for n in range(250)))
    clock.advance(1)
    assert names(fetch(place, room=10)) == []
    left = len(place.dump()["s:default:5"])
    assert left >= 1000 - 10 - 250 - 10
    assert place.bells() > 0, "the rest must wake somebody"
    while place.dump().get("l"):
        fetch(place, room=250)
    assert place.dump()["s:default:5"] == []


def test_the_payload_of_a_delayed_job_that_was_evicted_does_not_stop_the_others(
    place: Place, clock: Clock
) -> None:
    enqueue(place, new_job("a", due="+10"), new_job("b", due="+10"))
    place.admin("DEL", f"{place.prefix}y:a")
    clock.advance(10)
    assert [delivery.payload for delivery in fetch(place).deliveries] == [b"", b"<b>"]


def test_a_key_of_the_wrong_type_in_a_later_lane_loses_none_of_the_jobs_already_taken(
    place: Place, clock: Clock
) -> None:
    """What was taken reaches the worker; the next call, with nothing else, says what is wrong."""
    enqueue(place, new_job("a", lane="mail:9"))
    place.admin("SADD", f"{place.prefix}l", "default:5")
    place.admin("SET", f"{place.prefix}s:default:5", "no stream")
    place.is_sound = False
    assert [each.job_id for each in fetch(place).deliveries] == [b"a"]
    with pytest.raises(AioqError, match="WRONGTYPE"):
        fetch(place)
