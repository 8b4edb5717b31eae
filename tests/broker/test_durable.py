"""Durable jobs on the server: their memo, how they are suspended, and what wakes them."""

from typing import Any

import pytest

from aioq.broker import letters, memos, scripts
from aioq.broker.memos import NewChild, Noted
from aioq.broker.scripts import Delivery
from tests.broker.calls import deliver, enqueue, fetch, outcome, reap, revoke, settle
from tests.broker.clock import Clock
from tests.broker.place import CURRENT, START, Place, new_job, record

pytestmark = pytest.mark.broker

HOUR = 3_600_000
MOST = 1_000
"""Bytes that the steps of a job may take here."""


def names(delivery: Delivery) -> dict[str, Any]:
    return {"job_id": delivery.job_id, "entry_id": delivery.entry_id}


def recall(place: Place, delivery: Delivery) -> memos.Memo:
    return place.run(memos.memo(place.prefix, **names(delivery)))


def note(place: Place, delivery: Delivery, name: str, kind: str, value: bytes) -> Noted:
    return place.run(
        memos.note(place.prefix, most=MOST, name=name, kind=kind, value=value, **names(delivery))
    )


def hear(place: Place, delivery: Delivery, timeout: str = "", name: str = "w") -> bytes:
    call = memos.hear(place.prefix, name=name, event="paid", timeout=timeout, **names(delivery))
    return place.run(call).entry


def send(
    place: Place,
    value: bytes = b"V",
    *,
    nonce: str = "n",
    job_id: str = "",
    keep_ms: int = HOUR,
    most: int = 250,
) -> memos.Told:
    return place.run(
        memos.event(
            place.prefix,
            nonce=nonce,
            event="paid",
            value=value,
            keep_ms=keep_ms,
            job_id=job_id,
            most=most,
        )
    )


def start(place: Place, delivery: Delivery, *numbers: int, lane: str = "default:5") -> int:
    parent = delivery.job_id.decode()
    children = [
        NewChild.of(n, "00ff", new_job(f"{parent}.{n}", lane=lane, task="child")) for n in numbers
    ]
    call = memos.start(place.prefix, most=10, children=children, **names(delivery))
    return place.run(call)


def suspend(place: Place, delivery: Delivery, *waits: str, due: int | str = "") -> str:
    return settle(place, outcome(delivery, "s", due, "\n".join(waits).encode()))


def memo_of(place: Place, job_id: str = "a") -> dict[str, str]:
    """The entries of a memo, without what it keeps for itself."""
    memo = place.dump().get(f"dm:{job_id}", {})
    return {name: entry for name, entry in memo.items() if not name.startswith(" ")}


def again(place: Place, *, lanes: tuple[str, ...] = ("default:5",)) -> list[str]:
    """Fetch; return the jobs that came."""
    return [each.job_id.decode() for each in fetch(place, lanes=lanes).deliveries]


def state_of(place: Place, job_id: str = "a") -> str:
    return place.dump()[f"j:{job_id}"]["state"]


def test_the_first_note_makes_a_memo_that_goes_with_its_job(place: Place, clock: Clock) -> None:
    [delivery] = deliver(place, new_job("a"))
    assert recall(place, delivery) == memos.Memo(START, "", {})
    assert note(place, delivery, "charge", "s", b"R") == Noted(START, b"sR")
    assert memo_of(place) == {"charge": "sR"}
    assert place.dump()["j:a"] == record(
        "running", token=CURRENT, worker="w1", started=0, waiters="%"
    )
    settle(place, outcome(delivery, "c", HOUR, b"done"))
    assert set(place.dump()) == {"j:a", "lw", "s:default:5", "ss"}


def test_a_note_that_is_there_stays(place: Place, clock: Clock) -> None:
    [delivery] = deliver(place, new_job("a"))
    note(place, delivery, "charge", "s", b"first")
    assert note(place, delivery, "charge", "s", b"second").entry == b"sfirst"
    note(place, delivery, "nap", "z", b"50")
    clock.advance(10)
    assert note(place, delivery, "nap", "z", b"50") == Noted(START + 10, b"z%d" % (START + 50))


def test_a_memo_that_would_be_too_large_takes_nothing_more(place: Place, clock: Clock) -> None:
    [delivery] = deliver(place, new_job("a"))
    note(place, delivery, "one", "s", b"x" * 600)
    assert note(place, delivery, "two", "s", b"x" * 600) == Noted(memos.TOO_MUCH, b"1206")
    assert set(memo_of(place)) == {"one"}


def test_a_delivery_that_was_taken_over_notes_and_reads_nothing(place: Place, clock: Clock) -> None:
    [lost] = deliver(place, new_job("a"))
    note(place, lost, "charge", "s", b"R")
    reap(place, "w1")
    place.lease("w2")
    [delivery] = fetch(place, worker="w2").deliveries
    before = place.dump()
    assert recall(place, lost).now_ms == memos.TAKEN_OVER
    assert note(place, lost, "late", "s", b"R").now_ms == memos.TAKEN_OVER
    assert start(place, lost, 1) == memos.TAKEN_OVER
    assert hear(place, lost) == b""
    assert suspend(place, lost, due=START + 50) == "S"
    assert place.dump() == before
    assert recall(place, delivery).entries == {"charge": b"sR"}


def test_a_sleeping_job_is_in_no_stream_and_comes_when_it_is_due(
    place: Place, clock: Clock
) -> None:
    [delivery] = deliver(place, new_job("a"))
    note(place, delivery, "sleep 1", "z", b"3600000")
    assert suspend(place, delivery, due=START + HOUR) == "K"
    assert place.dump()["j:a"] == record(
        "suspended",
        token=delivery.entry_id.decode(),
        ended=1,
        due=START + HOUR,
        waiters="%",
    )
    assert place.dump()["d"] == {"a": START + HOUR}
    assert place.dump()["s:default:5"] == []
    clock.advance(HOUR - 1)
    assert again(place) == []
    clock.advance(1)
    [second] = fetch(place).deliveries
    assert (second.job_id, second.deliveries, second.retries) == (b"a", 2, 0)
    assert second.entry_id != delivery.entry_id
    assert "y:a" not in place.dump()


def test_a_clock_that_is_put_back_lets_a_sleep_last_longer_and_never_shorter(
    place: Place, clock: Clock
) -> None:
    [delivery] = deliver(place, new_job("a"))
    note(place, delivery, "sleep 1", "z", b"1000")
    suspend(place, delivery, due=START + 1000)
    clock.advance(-5000)
    assert again(place) == []
    clock.advance(5999)
    assert again(place) == []
    clock.advance(1)
    assert again(place) == ["a"]


def test_a_sleep_that_is_over_by_then_makes_the_job_ready_at_once(
    place: Place, clock: Clock
) -> None:
    [delivery] = deliver(place, new_job("a"))
    clock.advance(50)
    assert suspend(place, delivery, due=START + 50) == "K"
    clock.advance(1)
    assert again(place) == ["a"]


def test_a_suspension_counts_no_retry_and_ends_the_worry_about_a_suspect(
    place: Place, clock: Clock
) -> None:
    enqueue(place, new_job("a"))
    for _ in range(2):
        place.lease("w1")
        clock.advance(60_000)
        assert again(place, lanes=("default:5", "default:z")) == ["a"]
        reap(place, "w1")
    place.lease("w1")
    clock.advance(60_000)
    [delivery] = fetch(place, lanes=["default:z"]).deliveries
    suspend(place, delivery, due=clock.now_ms + 10)
    found = place.dump()["j:a"]
    assert "crashes" not in found
    assert "retries" not in found
    clock.advance(10)
    assert again(place) == ["a"]


def test_what_expires_does_not_expire_any_more_once_it_has_begun(
    place: Place, clock: Clock
) -> None:
    [delivery] = deliver(place, new_job("a", expires="+1000"))
    suspend(place, delivery, due=START + HOUR)
    clock.advance(HOUR)
    assert again(place) == ["a"]


def test_an_event_wakes_whoever_waits_for_it(place: Place, clock: Clock) -> None:
    first, second = deliver(place, new_job("a"), new_job("b"))
    for delivery in (first, second):
        assert hear(place, delivery) == b"e paid"
        assert suspend(place, delivery, "w") == "K"
    assert place.dump()["dw:paid"] == {"a w": 0, "b w": 0}
    assert state_of(place) == "suspended"
    assert again(place) == []
    clock.advance(1)
    assert send(place) == memos.Told(2, rest=False)
    found = fetch(place).deliveries
    assert [each.job_id for each in found] == [b"a", b"b"]
    assert hear(place, found[0]) == b"Epaid V"
    assert "dw:paid" not in place.dump()


def test_an_event_that_comes_before_the_job_is_suspended_makes_it_ready(
    place: Place, clock: Clock
) -> None:
    [delivery] = deliver(place, new_job("a"))
    hear(place, delivery)
    assert send(place).told == 1
    assert suspend(place, delivery, "w") == "K"
    clock.advance(1)
    [delivery] = fetch(place).deliveries
    assert hear(place, delivery) == b"Epaid V"


def test_an_event_is_kept_for_jobs_that_were_there_when_it_was_sent(
    place: Place, clock: Clock
) -> None:
    deliver(place, new_job("before"))
    clock.advance(1)
    assert send(place).told == 0
    clock.advance(1)
    enqueue(place, new_job("after"))
    place.lease("w2")
    [after] = fetch(place, worker="w2").deliveries
    assert hear(place, after) == b"e paid"
    reap(place, "w1")
    place.lease("w1")
    [before] = fetch(place).deliveries
    assert hear(place, before) == b"Epaid V"


def test_an_event_is_kept_no_longer_than_it_should(place: Place, clock: Clock) -> None:
    [delivery] = deliver(place, new_job("a"))
    send(place, keep_ms=1000)
    clock.advance(1000)
    assert hear(place, delivery) == b"e paid"


def test_of_one_name_the_last_hundred_are_kept(place: Place, clock: Clock) -> None:
    [delivery] = deliver(place, new_job("a"))
    for number in range(105):
        send(place, b"%d" % number, nonce=str(number))
    assert hear(place, delivery) == b"Epaid 5"
    assert len(place.dump()["de:paid"]) == 101  # and their list


def test_each_wait_of_a_job_gets_an_event_of_its_own(place: Place, clock: Clock) -> None:
    [delivery] = deliver(place, new_job("a"))
    for value in (b"1", b"2"):
        send(place, value, nonce=value.decode())
    assert [hear(place, delivery, name=name) for name in "xyz"] == [
        b"Epaid 1",
        b"Epaid 2",
        b"e paid",
    ]


def test_an_event_that_is_sent_again_is_the_same_one(place: Place, clock: Clock) -> None:
    [delivery] = deliver(place, new_job("a"))
    hear(place, delivery, name="x")
    assert send(place).told == 1
    assert hear(place, delivery, name="y") == b"e paid"
    assert send(place).told == 0
    assert hear(place, delivery, name="y") == b"e paid"


def test_many_that_wait_are_told_in_parts(place: Place, clock: Clock) -> None:
    found = deliver(place, *(new_job(f"a{n}") for n in range(5)))
    for delivery in found:
        hear(place, delivery)
        suspend(place, delivery, "w")
    clock.advance(1)
    assert [send(place, most=2) for _ in range(3)] == [
        memos.Told(2, rest=True),
        memos.Told(2, rest=True),
        memos.Told(1, rest=False),
    ]
    assert len(again(place)) == 5


def test_an_event_for_one_job_reaches_no_other_and_is_kept_as_long_as_it_lives(
    place: Place, clock: Clock
) -> None:
    first, second = deliver(place, new_job("a"), new_job("b"))
    hear(place, first)
    assert send(place, job_id="b", keep_ms=0).told == 0
    clock.advance(HOUR)
    assert hear(place, first) == b"e paid"
    assert hear(place, second) == b"Epaid V"
    assert send(place, b"W", nonce="m", job_id="a").told == 1
    assert send(place, b"W", nonce="m", job_id="a").told == 0
    assert hear(place, first) == b"Epaid W"
    assert hear(place, first, name="other") == b"e paid"
    settle(place, outcome(first, "c", 0), outcome(second, "c", 0))
    assert send(place, job_id="a", nonce="late").told == 0
    assert send(place, job_id="nobody").told == 0
    assert not any(name.startswith(("dm:", "dw:")) for name in place.dump())


def test_a_wait_that_takes_too_long_ends_and_stays_ended(place: Place, clock: Clock) -> None:
    [delivery] = deliver(place, new_job("a"))
    assert hear(place, delivery, "500") == b"e%d paid" % (START + 500)
    suspend(place, delivery, "w", due=START + 500)
    clock.advance(500)
    [delivery] = fetch(place).deliveries
    assert hear(place, delivery, "500") == b"Tpaid"
    assert "dw:paid" not in place.dump()
    send(place)
    assert hear(place, delivery, "500") == b"Tpaid"


def test_children_are_made_once_and_wake_their_parent_when_all_have_ended(
    place: Place, clock: Clock
) -> None:
    [parent] = deliver(place, new_job("a"))
    assert start(place, parent, 1, 2) == 2
    assert start(place, parent, 1, 2) == 2
    suspend(place, parent, "child 1", "child 2")
    one, two = fetch(place).deliveries
    assert (one.job_id, two.job_id) == (b"a.1", b"a.2")
    clock.advance(1)
    settle(place, outcome(one, "c", 0, b"1"))
    assert state_of(place) == "suspended"
    settle(place, outcome(two, "f", "", b"\x92\xa1E\xa1m"))
    [parent] = fetch(place).deliveries
    assert (parent.job_id, parent.deliveries) == (b"a", 2)
    entries = recall(place, parent).entries
    assert entries == {
        "child 1": b"rc00ff a.1 1",
        "child 2": b"rf00ff a.2 \x92\xa1E\xa1m",
    }


def test_children_that_have_ended_before_the_job_is_suspended_make_it_ready(
    place: Place, clock: Clock
) -> None:
    [parent] = deliver(place, new_job("a"))
    start(place, parent, 1)
    [child] = fetch(place).deliveries
    settle(place, outcome(child, "c", 0, b"1"))
    assert suspend(place, parent, "child 1") == "K"
    clock.advance(1)
    assert again(place) == ["a"]


def test_a_child_that_ends_in_the_same_call_as_its_parent_is_suspended_wakes_it(
    place: Place, clock: Clock
) -> None:
    [parent] = deliver(place, new_job("a"))
    start(place, parent, 1)
    [child] = fetch(place).deliveries
    ends = outcome(child, "c", 0, b"1"), outcome(parent, "s", "", b"child 1")
    assert settle(place, *ends) == "KK"
    clock.advance(1)
    assert again(place) == ["a"]


def test_too_many_children_are_refused_together(place: Place, clock: Clock) -> None:
    [parent] = deliver(place, new_job("a"))
    assert start(place, parent, *range(1, 12)) == memos.TOO_MUCH
    assert "dm:a" not in place.dump()


def test_a_child_that_is_revoked_or_expires_wakes_its_parent(place: Place, clock: Clock) -> None:
    [parent] = deliver(place, new_job("a"))
    start(place, parent, 1)
    suspend(place, parent, "child 1")
    clock.advance(1)
    revoke(place, "a.1")
    [parent] = fetch(place).deliveries
    assert recall(place, parent).entries == {"child 1": b"rx00ff a.1 revoked"}


def test_a_suspended_job_holds_no_slot_and_passes_its_gate_again(
    place: Place, clock: Clock
) -> None:
    place.admin("HSET", f"{place.prefix}lr", "c:n", "1")
    first, second = new_job("a", lane="default:5 c:n:"), new_job("b", lane="default:5 c:n:")
    [delivery] = deliver(place, first, second)
    suspend(place, delivery, due=START + 100)
    [other] = fetch(place).deliveries
    assert other.job_id == b"b"
    clock.advance(100)
    assert again(place) == []
    assert state_of(place) == "parked"
    settle(place, outcome(other, "c", 0))
    assert again(place) == ["a"]


def test_a_revoke_ends_a_suspended_job_and_its_children(place: Place, clock: Clock) -> None:
    [parent] = deliver(place, new_job("a"))
    start(place, parent, 1, 2)
    hear(place, parent)
    suspend(place, parent, "w", "child 1", due=START + HOUR)
    [running] = fetch(place, room=1).deliveries
    assert revoke(place, "a") == [True]
    found = place.dump()
    assert found["j:a"]["state"] == "revoked"
    assert found["j:a.2"]["state"] == "revoked"
    assert found["j:a.1"]["revoke"] == "120000"
    assert not {"dm:a", "dw:paid", "y:a", "d"} & set(found)
    settle(place, outcome(running, "c", 0))
    assert state_of(place, "a.1") == "revoked"


def test_a_dead_letter_keeps_its_memo_and_a_replay_goes_on_from_there(
    place: Place, clock: Clock
) -> None:
    [delivery] = deliver(place, new_job("a"))
    note(place, delivery, "charge", "s", b"R")
    hear(place, delivery)
    settle(place, outcome(delivery, "f", "", b"\x92\xa1E\xa1m"))
    assert "dw:paid" not in place.dump()
    assert place.expiring()["dm:a"] == pytest.approx(7 * 24 * HOUR, abs=60_000)
    clock.advance(1)
    place.run(letters.replay(place.prefix, nonce="r", job_ids=["a"]))
    assert "dm:a" not in place.expiring()
    [delivery] = fetch(place).deliveries
    assert recall(place, delivery).entries["charge"] == b"sR"
    assert hear(place, delivery) == b"e paid"
    settle(place, outcome(delivery, "c", 0))
    assert "dm:a" not in place.dump()


def dead_with_a_memo(place: Place) -> None:
    """Leave the memos of two dead letters, with a large result of a child each."""
    for job_id in ("a", "b"):
        [parent] = deliver(place, new_job(job_id))
        start(place, parent, 1)
        [child] = fetch(place).deliveries
        settle(place, outcome(child, "c", 0, b"x" * 5000))
        settle(place, outcome(parent, "f", "", b"\x92\xa1E\xa1m"))


def test_the_memo_of_a_letter_that_is_discarded_goes_with_it(place: Place, clock: Clock) -> None:
    dead_with_a_memo(place)
    assert {"dm:a", "dr:a"} <= set(place.dump())
    place.run(letters.discard(place.prefix, nonce="d", job_ids=["a"]))
    assert not {"dm:a", "dr:a"} & set(place.dump())
    assert {"dm:b", "dr:b"} <= set(place.dump())


def test_the_memo_of_a_letter_goes_with_it_when_there_are_too_many(
    place: Place, clock: Clock
) -> None:
    dead_with_a_memo(place)
    [last] = deliver(place, new_job("c"))
    settle(place, outcome(last, "f", "", b"\x92\xa1E\xa1m"), dead_max=1)
    assert not {"dm:a", "dr:a", "dm:b", "dr:b"} & set(place.dump())


def test_a_failed_child_that_is_replayed_changes_the_memo_of_its_dead_parent(
    place: Place, clock: Clock
) -> None:
    [parent] = deliver(place, new_job("a"))
    start(place, parent, 1)
    [child] = fetch(place).deliveries
    settle(place, outcome(child, "f", "", b"\x92\xa1E\xa1m"))
    settle(place, outcome(parent, "f", "", b"\x92\xa1E\xa1m"))
    clock.advance(1)
    place.run(letters.replay(place.prefix, nonce="r", job_ids=["a.1"]))
    [child] = fetch(place).deliveries
    settle(place, outcome(child, "c", 0, b"1"))
    place.run(letters.replay(place.prefix, nonce="s", job_ids=["a"]))
    [parent] = fetch(place).deliveries
    assert recall(place, parent).entries == {"child 1": b"rc00ff a.1 1"}


def test_the_ids_of_a_job_with_a_chosen_id_have_its_nonce(place: Place, clock: Clock) -> None:
    [delivery] = deliver(place, new_job("a", nonce="0011aabb"))
    assert recall(place, delivery).nonce == "0011aabb"


def test_a_suspended_job_can_be_looked_at(place: Place, clock: Clock) -> None:
    [delivery] = deliver(place, new_job("a"))
    suspend(place, delivery, due=START + HOUR)
    looked = place.run(scripts.look(place.prefix, job_id="a"))
    assert (looked.record["s"], looked.payload) == (b"s", b"<a>")


def test_a_large_result_of_a_child_is_kept_beside_the_memo(place: Place, clock: Clock) -> None:
    """Whoever reads the memo need not read all of them."""
    [parent] = deliver(place, new_job("a"))
    start(place, parent, 1, 2, 3)
    large = b"x" * 700_000
    for child in fetch(place).deliveries:
        settle(place, outcome(child, "c", 0, large))
    assert recall(place, parent).entries == {f"child {n}": b"Rc00ff a.%d" % n for n in (1, 2, 3)}
    call = memos.results(place.prefix, numbers=["1", "2", "3"], **names(parent))
    assert place.run(call) == [large, large]
    suspend(place, parent, "child 1", "child 2", "child 3")
    clock.advance(1)
    [parent] = fetch(place).deliveries
    assert place.run(call) == []
    settle(place, outcome(parent, "c", 0))
    assert not any(name.startswith("d") for name in place.dump())
