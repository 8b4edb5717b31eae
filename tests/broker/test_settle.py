"""settle.lua: the last word on deliveries, each only by its token."""

from contextlib import suppress

import pytest

from aioq.broker import scripts
from aioq.broker.scripts import Settlement
from aioq.core.errors import AioqError
from tests.broker.calls import DEAD_MS, deliver, enqueue, outcome, settle
from tests.broker.clock import Clock
from tests.broker.place import CURRENT, FOREVER, START, Place, new_job, record, without

pytestmark = pytest.mark.broker

LEASED = {"lw": {"w1": FOREVER}}
EMPTY_LANE: dict[str, object] = {"s:default:5": [], "ss": {"default:5"}}


def test_a_completed_job_keeps_a_small_result_in_its_record(place: Place, clock: Clock) -> None:
    [delivery] = deliver(place, new_job("a"))
    clock.advance(70)
    assert settle(place, outcome(delivery, "c", 3_600_000, b"R" * 64)) == "K"
    assert place.dump() == {
        **LEASED,
        **EMPTY_LANE,
        "j:a": record("completed", worker="w1", started=0, finished=70, value=b"R" * 64),
    }
    assert 3_590_000 < place.expiring()["j:a"] <= 3_600_000


def test_a_larger_result_lives_in_a_key_of_its_own(place: Place, clock: Clock) -> None:
    [delivery] = deliver(place, new_job("a"))
    settle(place, outcome(delivery, "c", 3_600_000, b"R" * 65))
    assert place.dump() == {
        **LEASED,
        **EMPTY_LANE,
        "j:a": record("completed", worker="w1", started=0, finished=0),
        "v:a": b"R" * 65,
    }
    assert set(place.expiring()) == {"j:a", "v:a"}
    assert max(place.expiring().values()) <= 3_600_000


def test_a_result_may_be_forgotten_soon_but_a_record_outlives_every_resend(
    place: Place, clock: Clock
) -> None:
    [delivery] = deliver(place, new_job("a"))
    settle(place, outcome(delivery, "c", 5_000, b"R"))
    assert place.dump()["v:a"] == b"R"
    assert 119_000 < place.expiring()["j:a"] <= 120_000
    assert 4_000 < place.expiring()["v:a"] <= 5_000


def test_a_result_nobody_may_ask_for_is_not_kept_at_all(place: Place, clock: Clock) -> None:
    [delivery] = deliver(place, new_job("a"))
    settle(place, outcome(delivery, "c", 0, b"R"))
    assert place.dump() == {
        **LEASED,
        **EMPTY_LANE,
        "j:a": record("completed", worker="w1", started=0, finished=0),
    }


def test_a_retry_waits_with_its_payload_and_its_error(place: Place, clock: Clock) -> None:
    [delivery] = deliver(place, new_job("a", lane="mail:7"))
    assert settle(place, outcome(delivery, "r", "+5000", b"boom")) == "K"
    assert place.dump() == {
        **LEASED,
        "s:mail:7": [],
        "ss": {"mail:7"},
        "j:a": record("delayed", lane="mail:7", token="stale", retries=1, ended=1, due=START + 5000)
        | {"token": delivery.entry_id.decode()},
        "y:a": b"<a>",
        "v:a": b"boom",
        "d": {"a": START + 5000},
        "b:mail": 1,
    }
    assert place.expiring()["v:a"] > DEAD_MS, "the error outlives the wait"


def test_a_retried_job_comes_back_as_it_was_with_one_more_retry_and_a_new_token(
    place: Place, clock: Clock
) -> None:
    [first] = deliver(place, new_job("a", lane="mail:7", expires="+999999"))
    settle(place, outcome(first, "r", "+5000", b"boom"))
    clock.advance(5000)
    place.lease("w2")
    [second] = deliver(place, new_job("b", lane="mail:7"), worker="w2")[::-1][:1]
    assert second == first._replace(
        entry_id=second.entry_id, retries=1, deliveries=2, due_ms=START + 5000
    )
    assert second.entry_id != first.entry_id
    assert settle(place, outcome(second, "c", 0)) == "K"
    assert place.dump()["j:a"]["retries"] == 1
    assert "v:a" not in place.dump(), "the error of the earlier run is gone"


def test_a_retry_that_is_due_at_once_is_queued_at_once(place: Place, clock: Clock) -> None:
    [delivery] = deliver(place, new_job("a"))
    settle(place, outcome(delivery, "r", "+0", b"boom"))
    dump = place.dump()
    assert dump["j:a"] == record("queued", token=CURRENT, retries=1, ended=1)
    assert dump["s:default:5"] == [("a", b"<a>", None)]
    assert (dump["l"], dump["b:default"]) == ({"default:5"}, 1)


def test_giving_back_counts_nothing_against_the_job(place: Place, clock: Clock) -> None:
    [delivery] = deliver(place, new_job("a"))
    assert settle(place, outcome(delivery, "n", "+0")) == "K"
    assert place.dump() == {
        **LEASED,
        "j:a": record("queued", token=CURRENT, ended=1),
        "s:default:5": [("a", b"<a>", None)],
        "ss": {"default:5"},
        "l": {"default:5"},
        "b:default": 1,
    }
    [again] = deliver(place)
    assert (again.retries, again.deliveries) == (0, 2)


def test_a_job_may_be_given_back_for_later(place: Place, clock: Clock) -> None:
    [delivery] = deliver(place, new_job("a"))
    settle(place, outcome(delivery, "n", str(START + 900)))
    assert deliver(place) == []
    clock.advance(900)
    [again] = deliver(place)
    assert (again.payload, again.retries, again.due_ms) == (b"<a>", 0, START + 900)


def test_a_buried_job_is_a_dead_letter_with_its_payload_and_its_error(
    place: Place, clock: Clock
) -> None:
    [delivery] = deliver(place, new_job("a"))
    clock.advance(30)
    assert settle(place, outcome(delivery, "f", "", b"boom")) == "K"
    assert place.dump() == {
        **LEASED,
        **EMPTY_LANE,
        "j:a": record("failed", worker="w1", started=0, finished=30, value=b"boom"),
        "y:a": b"<a>",
        "x": {"a": START + 30},
    }
    assert {name for name, ms in place.expiring().items() if DEAD_MS - 9000 < ms <= DEAD_MS} == {
        "j:a",
        "y:a",
    }


def test_a_long_error_of_a_dead_letter_is_kept_as_long_as_the_letter(
    place: Place, clock: Clock
) -> None:
    [delivery] = deliver(place, new_job("a"))
    settle(place, outcome(delivery, "f", "", b"boom" * 100))
    assert place.dump()["v:a"] == b"boom" * 100
    assert place.expiring()["v:a"] > DEAD_MS - 9000


def test_dead_letters_are_as_many_as_allowed_and_the_oldest_go_but_for_their_records(
    place: Place, clock: Clock
) -> None:
    """Those stay for two minutes more: an enqueue that is sent again must find its job (G5)."""
    for name in "abcd":
        [delivery] = deliver(place, new_job(name))
        settle(place, outcome(delivery, "f", "", b"boom" * 100), dead_max=2)
        clock.advance(1)
    dump = place.dump()
    assert dump["x"] == {"c": START + 2, "d": START + 3}
    assert {name for name in dump if name[:2] in {"y:", "v:"}} == {"y:c", "v:c", "y:d", "v:d"}
    left = place.expiring()
    assert max(left["j:a"], left["j:b"]) <= 120_000 < min(left["j:c"], left["j:d"])
    assert enqueue(place, new_job("a")).created == [True]
    assert deliver(place) == []


def test_dead_letters_go_when_they_are_old(place: Place, clock: Clock) -> None:
    [delivery] = deliver(place, new_job("a"))
    settle(place, outcome(delivery, "f"))
    clock.advance(DEAD_MS)
    [delivery] = deliver(place, new_job("b"))
    settle(place, outcome(delivery, "f"))
    assert place.dump()["x"] == {"b": START + DEAD_MS}


def test_a_job_that_nobody_knows_is_offered_around_and_buried_in_the_end(
    place: Place, clock: Clock
) -> None:
    [delivery] = deliver(place, new_job("a"))
    waits: list[int] = []
    while settle(place, outcome(delivery, "u", 60_000, b"unknown")) == "K":
        after = place.dump()["j:a"]
        if after["state"] == "failed":
            break
        assert (after["state"], after["unknown_since"]) == ("delayed", START)
        waits.append(after["due"] - clock.now_ms)
        clock.advance(waits[-1])
        [delivery] = deliver(place)
    assert waits[:3] == [1000, 1000, 2000]
    assert max(waits) <= 30_000
    assert 60_000 <= clock.now_ms - START <= 90_000
    dump = place.dump()
    assert dump["j:a"]["value"] == b"unknown"
    assert "retries" not in dump["j:a"]
    assert (dump["y:a"], dump["x"]) == (b"<a>", {"a": clock.now_ms})


def test_without_patience_an_unknown_task_is_buried_at_once(place: Place, clock: Clock) -> None:
    [delivery] = deliver(place, new_job("a"))
    settle(place, outcome(delivery, "u", 0, b"unknown"))
    assert place.dump()["j:a"]["state"] == "failed"


@pytest.mark.parametrize("op", ["c", "r", "f", "n", "u", "l"])
@pytest.mark.parametrize("late", ["c", "r", "f", "n", "u", "l"])
def test_the_late_word_of_a_worker_that_has_lost_the_job_is_refused(
    place: Place, clock: Clock, op: str, late: str
) -> None:
    [lost] = deliver(place, new_job("a"))
    settle(place, outcome(lost, "n", "+0"))
    [taken] = deliver(place, worker="w2")
    arguments = {"c": 0, "u": 0, "r": "+10", "n": "+10"}
    before = place.dump()
    assert settle(place, outcome(lost, late, arguments.get(late, ""), b"late")) == "S"
    assert place.dump() == before
    assert settle(place, outcome(taken, op, arguments.get(op, ""), b"good")) == "K"
    settled = place.dump()
    assert settle(place, outcome(lost, late, arguments.get(late, ""), b"late")) in {"S", "D"}
    assert place.dump() == settled


@pytest.mark.parametrize(
    ("op", "argument"),
    [("c", 3_600_000), ("r", "+10"), ("f", ""), ("n", "+10"), ("u", 0)],
)
def test_a_word_sent_again_changes_nothing(
    place: Place, clock: Clock, op: str, argument: str | int
) -> None:
    [delivery] = deliver(place, new_job("a"))
    assert settle(place, outcome(delivery, op, argument, b"value")) == "K"
    before = place.dump()
    clock.advance(5)
    assert settle(place, outcome(delivery, op, argument, b"value")) == "D"
    assert place.dump() == before


@pytest.mark.parametrize("op", ["r", "n", "l"])
def test_a_word_sent_again_after_the_job_went_on_changes_nothing(
    place: Place, clock: Clock, op: str
) -> None:
    [delivery] = deliver(place, new_job("a"))
    settle(place, outcome(delivery, op, "+0", b"boom"))
    before = place.dump()
    assert settle(place, outcome(delivery, op, "+0", b"boom")) in {"D", "S"}
    assert place.dump() == before


def test_a_job_whose_record_is_gone_is_said_to_be_gone(place: Place, clock: Clock) -> None:
    before = place.dump()
    assert settle(place, Settlement(b"nobody", b"1-1", "c", 0, b"")) == "G"
    assert place.dump() == before


def test_a_batch_is_settled_in_one_call_with_a_verdict_for_each(place: Place, clock: Clock) -> None:
    a, b, c, d = deliver(place, *(new_job(name) for name in "abcd"))
    settle(place, outcome(d, "c", 0))
    verdicts = settle(
        place,
        outcome(a, "c", 0),
        outcome(b, "r", "+9", b"boom"),
        Settlement(b"nobody", b"1-1", "f", "", b""),
        outcome(d, "c", 0),
        Settlement(c.job_id, b"1-1", "c", 0, b""),
        outcome(c, "f", "", b"boom"),
    )
    assert verdicts == "KKGDSK"
    states = {name: value["state"] for name, value in place.dump().items() if name[:2] == "j:"}
    assert states == {"j:a": "completed", "j:b": "delayed", "j:c": "failed", "j:d": "completed"}


@pytest.mark.parametrize("second", ["c", "r", "f", "n", "u", "l"])
@pytest.mark.parametrize("first", ["c", "r", "f", "n", "u", "l"])
def test_of_two_words_about_one_delivery_in_a_batch_the_first_counts(
    place: Place, clock: Clock, first: str, second: str
) -> None:
    """As if the second came in a call of its own: nothing that has ended begins again."""
    arguments = {"c": 0, "u": 60_000, "r": "+10", "n": "+10"}
    twice, once = deliver(place, new_job("twice"), new_job("once"))
    verdicts = settle(
        place,
        outcome(twice, first, arguments.get(first, ""), b"first"),
        outcome(twice, second, arguments.get(second, ""), b"second"),
        outcome(once, first, arguments.get(first, ""), b"first"),
    )
    assert verdicts == "KDK"
    dump = place.dump()
    assert without(dump["j:twice"], "token") == without(dump["j:once"], "token")
    assert dump.get("v:twice") == dump.get("v:once")


def test_a_worker_that_knows_the_task_ends_the_time_for_which_nobody_did(
    place: Place, clock: Clock
) -> None:
    [delivery] = deliver(place, new_job("a"))
    settle(place, outcome(delivery, "u", 60_000, b"unknown"))
    clock.advance(50_000)
    [delivery] = deliver(place)
    settle(place, outcome(delivery, "r", "+0", b"boom"))
    clock.advance(50_000)
    [delivery] = deliver(place)
    settle(place, outcome(delivery, "u", 60_000, b"unknown"))
    after = place.dump()["j:a"]
    assert (after["state"], after["unknown_since"]) == ("delayed", START + 100_000)


def test_250_jobs_of_several_lanes_are_settled_in_one_call(place: Place, clock: Clock) -> None:
    lanes = ["default:5", "mail:9", "mail:0"]
    deliveries = deliver(place, *(new_job(str(n), lane=lanes[n % 3]) for n in range(250)))
    assert settle(place, *(outcome(each, "c", 0) for each in deliveries)) == "K" * 250
    assert [value for name, value in place.dump().items() if name[:2] == "s:"] == [[]] * 3


def test_who_waits_is_told_the_end(place: Place, clock: Clock) -> None:
    [delivery] = deliver(place, new_job("a"))
    place.run(scripts.wait(place.prefix, client="c1", job_ids=["a"]))
    assert place.dump()["j:a"]["waiters"] == "c1"
    settle(place, outcome(delivery, "c", 0, b"R"))
    assert "waiters" not in place.dump()["j:a"]


def test_progress_and_marks_do_not_survive_a_run(place: Place, clock: Clock) -> None:
    [delivery] = deliver(place, new_job("a"))
    noted = scripts.Update(delivery.job_id, delivery.entry_id, "p", b"half")
    place.run(scripts.update(place.prefix, count=1, updates=[noted]))
    settle(place, outcome(delivery, "n", "+0"))
    assert place.dump()["j:a"] == record("queued", token=CURRENT, ended=1)


@pytest.mark.parametrize(
    ("op", "argument"),
    [("r", ""), ("n", "soon"), ("r", "+1" + "0" * 30), ("c", "for ever"), ("u", ""), ("?", "")],
)
def test_an_argument_that_makes_no_sense_loses_no_job_of_the_batch(
    place: Place, clock: Clock, op: str, argument: str
) -> None:
    """Validate before the first write: the job that is wrong and its neighbours stay running."""
    place.is_sound = False
    good, bad = deliver(place, new_job("good"), new_job("bad"))
    with suppress(AioqError):  # a refusal is fine where nothing is lost by it
        settle(place, outcome(bad, op, argument, b"boom"), outcome(good, "c", 0))
    assert place.problems() == []
