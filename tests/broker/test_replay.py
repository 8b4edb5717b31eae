"""replay.lua and discard.lua: dead letters are queued again, or thrown away."""

import pytest

from aioq.broker import letters as stubs
from aioq.broker import scripts
from aioq.broker.scripts import Delivery, Update
from tests.broker.calls import deliver, enqueue, fetch, outcome, settle
from tests.broker.clock import Clock
from tests.broker.place import CURRENT, START, Place, new_job, record, without

pytestmark = pytest.mark.broker


def replay(place: Place, *job_ids: str, nonce: str = "n1") -> str:
    return place.run(stubs.replay(place.prefix, nonce=nonce, job_ids=job_ids))


def discard(place: Place, *job_ids: str, nonce: str = "n1") -> list[bool]:
    return place.run(stubs.discard(place.prefix, nonce=nonce, job_ids=job_ids))


def bury(place: Place, *job_ids: str, error: bytes = b"boom", nonce: str = "") -> None:
    deliveries = deliver(place, *(new_job(each, nonce=nonce) for each in job_ids))
    settle(place, *(outcome(each, "f", "", error) for each in deliveries))


@pytest.mark.parametrize("error", [b"boom", b"boom" * 99])
def test_a_replayed_job_is_queued_as_if_it_had_never_run(
    place: Place, clock: Clock, error: bytes
) -> None:
    bury(place, "a", error=error)
    clock.advance(1000)
    assert replay(place, "a") == "K"
    assert without(place.dump(), "lw", "ss") == {
        "j:a": record("queued", token=CURRENT, letter_nonce="n1"),
        "s:default:5": [("a", b"<a>", None)],
        "l": {"default:5"},
        "b:default": 1,
    }
    assert place.expiring() == {}


def test_nothing_that_was_noted_of_its_runs_stays(place: Place, clock: Clock) -> None:
    def take() -> Delivery:
        return fetch(place, lanes=["mail:7", "mail:z"]).deliveries[0]

    place.lease("w1")
    enqueue(place, new_job("a", lane="mail:7", due="+10", expires="+5000", nonce="mine"))
    clock.advance(10)
    settle(place, outcome(take(), "r", "+0", b"oops"))
    settle(place, outcome(take(), "u", "9999", b"unknown"))
    clock.advance(1000)
    running = take()
    noted = Update(running.job_id, running.entry_id, "p", b"half")
    place.run(scripts.update(place.prefix, count=1, updates=[noted]))
    place.run(scripts.wait(place.prefix, client="c1", job_ids=["a"]))
    settle(place, outcome(running, "l", "", b"died"))
    settle(place, outcome(take(), "f", "", b"boom"))
    assert set(place.dump()["j:a"]) >= {"retries", "crashes", "ended", "due", "unknown_since"}
    assert replay(place, "a") == "K"
    assert place.dump()["j:a"] == record(
        "queued", lane="mail:7", token=CURRENT, nonce="mine", letter_nonce="n1"
    )


def test_a_suspect_goes_back_to_its_own_lane(place: Place, clock: Clock) -> None:
    """It starts with crashes at 0, so it is no suspect; and with an id that no entry had."""
    [delivery] = deliver(place, new_job("a"))
    for pause in (0, 4000, 0):
        settle(place, outcome(delivery, "l", "", b"died"))
        clock.advance(pause)
        found = fetch(place, lanes=["default:5", "default:z"]).deliveries
        delivery = found[0] if found else delivery
    assert place.dump()["j:a"]["crashes"] == 3
    assert replay(place, "a") == "K"
    assert replay(place, "a") == "K"
    assert settle(place, outcome(delivery, "c", 9999, b"late")) in "DS"
    clock.advance(1)
    fetch(place, lanes=["mail:5"])
    assert settle(place, outcome(delivery, "c", 9999, b"late")) == "S"
    assert place.dump()["s:default:5"] == [("a", b"<a>", None)]
    assert "crashes" not in place.dump()["j:a"]


def test_the_next_run_is_the_first(place: Place, clock: Clock) -> None:
    bury(place, "a")
    replay(place, "a")
    [delivery] = deliver(place, worker="w2")
    assert (delivery.job_id, delivery.payload) == (b"a", b"<a>")
    assert (delivery.retries, delivery.deliveries, delivery.due_ms) == (0, 1, 0)
    assert settle(place, outcome(delivery, "c", 3_600_000, b"R")) == "K"
    ended = place.dump()["j:a"]
    assert ended["state"] == "completed"
    assert ended["value"] == b"R"


def test_the_word_of_the_old_run_is_refused(place: Place, clock: Clock) -> None:
    [old] = deliver(place, new_job("a"))
    settle(place, outcome(old, "f", "", b"boom"))
    replay(place, "a")
    assert settle(place, outcome(old, "c", 3_600_000, b"late")) == "S"
    [new] = deliver(place)
    assert settle(place, outcome(old, "c", 3_600_000, b"late")) == "S"
    assert settle(place, outcome(new, "c", 3_600_000, b"R")) == "K"


def test_who_asks_for_the_end_waits_for_the_new_one(place: Place, clock: Clock) -> None:
    bury(place, "a")
    replay(place, "a")
    ask = scripts.wait(place.prefix, client="c1", job_ids=["a"])
    assert place.run(ask)[0].state == "-"
    [delivery] = deliver(place)
    settle(place, outcome(delivery, "c", 3_600_000, b"R"))
    assert place.run(ask)[0] == scripts.End("c", b"R")


@pytest.mark.parametrize("op", ["", "fetched", "c", "f"])
def test_a_replay_that_is_sent_again_does_nothing_twice(
    place: Place, clock: Clock, op: str
) -> None:
    """Its reply was lost, and by now the job may be anywhere; even dead again."""
    bury(place, "a")
    assert replay(place, "a") == "K"
    if op:
        [delivery] = deliver(place)
        if op != "fetched":
            settle(place, outcome(delivery, op, {"c": 9999, "f": ""}[op], b"again"))
    before = place.dump()
    assert replay(place, "a") == "K"
    assert place.dump() == before


def test_a_second_replay_finds_no_letter_until_the_job_is_dead_again(
    place: Place, clock: Clock
) -> None:
    bury(place, "a")
    assert replay(place, "a", nonce="n1") == "K"
    assert replay(place, "a", nonce="n2") == "q"
    [delivery] = deliver(place)
    assert replay(place, "a", nonce="n3") == "r"
    settle(place, outcome(delivery, "f", "", b"boom"))
    assert replay(place, "a", nonce="n4") == "K"


def test_what_is_no_letter_is_named_and_not_touched(place: Place, clock: Clock) -> None:
    enqueue(place, new_job("q"), new_job("d", due="+10"), new_job("x", expires="+0"))
    place.run(scripts.revoke(place.prefix, at_once=True, keep_ms=0, job_ids=["x"]))
    running, done = deliver(place, new_job("c"))[:2]
    assert (running.job_id, done.job_id) == (b"q", b"c")
    settle(place, outcome(done, "c", 9999, b"R"))
    before = place.dump()
    assert replay(place, "nobody", "q", "d", "c", "x") == "-rdcx"
    assert discard(place, "nobody", "q", "d", "c", "x") == [False] * 5
    assert place.dump() == before


def test_a_letter_without_its_payload_cannot_be_replayed(place: Place, clock: Clock) -> None:
    """More died than are kept; the record is there for a while, so that it is no second job."""
    deliveries = deliver(place, new_job("a"), new_job("b"))
    settle(place, outcome(deliveries[0], "f", "", b"boom"))
    clock.advance(1)
    settle(place, outcome(deliveries[1], "f", "", b"boom"), dead_max=1)
    before = place.dump()
    assert replay(place, "a") == "f"
    assert discard(place, "a") == [False]
    assert place.dump() == before


def test_a_batch_rings_for_each_of_its_jobs(place: Place, clock: Clock) -> None:
    bury(place, "a", "b", "c", "d")
    place.admin("DEL", place.keys.bell("default"))
    assert replay(place, "a", "b", "nobody", "d") == "KK-K"
    assert place.bells() == 3
    assert place.dump()["x"] == {"c": START}


def test_a_full_server_can_replay_and_discard(place: Place, clock: Clock) -> None:
    bury(place, "a", "b", error=b"boom" * 99)
    place.admin("CONFIG", "SET", "maxmemory", 1)
    try:
        assert replay(place, "a") == "K"
        assert discard(place, "b") == [True]
    finally:
        place.admin("CONFIG", "SET", "maxmemory", 0)
    assert place.dump()["s:default:5"] == [("a", b"<a>", None)]


@pytest.mark.parametrize("error", [b"boom", b"boom" * 99])
def test_of_a_discarded_letter_only_the_record_stays_for_a_while(
    place: Place, clock: Clock, error: bytes
) -> None:
    bury(place, "a", error=error)
    assert discard(place, "a") == [True]
    assert set(without(place.dump(), "lw", "ss", "s:default:5", "l", "b:default")) == {"j:a"}
    assert 119_000 < place.expiring()["j:a"] <= 120_000
    assert enqueue(place, new_job("a")).created == [True], "the resend of a lost call finds it"
    assert replay(place, "a", nonce="n2") == "f"


def test_a_discard_that_is_sent_again_says_the_same(place: Place, clock: Clock) -> None:
    bury(place, "a")
    assert discard(place, "a", nonce="n1") == [True]
    before = place.dump()
    assert discard(place, "a", nonce="n1") == [True]
    assert discard(place, "a", nonce="n2") == [False]
    assert place.dump() == before


def test_a_letter_whose_record_has_expired_is_taken_out_of_the_index(
    place: Place, clock: Clock
) -> None:
    bury(place, "a")
    place.admin("DEL", f"{place.prefix}j:a", f"{place.prefix}y:a")
    assert discard(place, "a") == [False]
    assert "x" not in place.dump()
