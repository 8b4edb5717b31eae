"""include/unique.lua: one live job for each key, whatever ends it, however often a call is sent."""

import random
import re
from collections import Counter
from collections.abc import Callable

import pytest

from aioq.broker import letters
from aioq.broker.enqueued import Existing
from aioq.broker.scripts import Delivery, NewJob
from tests.broker.calls import (
    crash,
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
from tests.broker.place import CURRENT, START, Place, new_job, record

pytestmark = pytest.mark.broker

LOCK = "un:add:k"
ERROR = b"\x92\xa1E\xa1e"


def unique(
    job_id: str,
    conflict: str = "r",
    *,
    until: str = "d",
    for_ms: str = "",
    lane: str = "default:5",
    holds: str = "",
    due: str = "",
    expires: str = "",
    nonce: str = "",
) -> NewJob:
    """Describe a job that has a unique key, the same for all of them."""
    where = f"{lane} u:{until}{conflict}:{for_ms}:add:k {holds}".rstrip()
    return new_job(job_id, lane=where, due=due, expires=expires, nonce=nonce)


def debounced(job_id: str, *, due: str = "+1000", **given: str) -> NewJob:
    return unique(job_id, "b", until="s", due=due, **given)


def made(place: Place, job: NewJob) -> str:
    """Enqueue a job; return the id that the caller gets."""
    enqueued = enqueue(place, job)
    existing = (enqueued.existing or [None])[0]
    assert enqueued.created == [not existing]
    return existing.job_id if existing else job.job_id


def holder(place: Place) -> str | None:
    """Return the job that holds the key."""
    found = place.admin("GET", place.prefix + LOCK)
    return found.decode() if found else None


def test_a_job_takes_its_key_in_the_call_that_makes_it(place: Place, clock: Clock) -> None:
    assert enqueue(place, unique("a")).existing is None

    assert place.dump() == {
        "j:a": record("queued", token=CURRENT, waiters="!add:k"),
        "s:default:5": [("a", b"<a>", None)],
        "l": {"default:5"},
        "b:default": 1,
        LOCK: b"a",
    }


def test_a_second_call_is_answered_with_the_job_that_is_there_and_changes_nothing(
    place: Place, clock: Clock
) -> None:
    enqueue(place, unique("a"))
    before = place.dump()

    second = enqueue(place, unique("b"), ask=False)

    assert second == ([False], [], [Existing("a", is_refusal=False)])
    assert place.dump() == before


def test_a_call_that_asks_for_it_is_refused_and_changes_nothing(place: Place, clock: Clock) -> None:
    enqueue(place, unique("a"))
    before = place.dump()

    second = enqueue(place, unique("b", "j"), ask=False)

    assert second == ([False], [], [Existing("a", is_refusal=True)])
    assert place.dump() == before


def test_in_one_call_each_job_gets_its_own_answer_beside_the_queues_that_nobody_serves(
    place: Place, clock: Clock
) -> None:
    asked = enqueue(
        place, new_job("p"), unique("a"), unique("b"), new_job("q", lane="mail:1"), unique("c", "j")
    )

    assert asked.created == [True, True, False, True, False]
    there = [Existing("a", is_refusal=False), Existing("a", is_refusal=True)]
    assert asked.existing == [None, None, there[0], None, there[1]]
    assert sorted(asked.unserved) == ["default", "mail"]


def test_the_word_is_no_hold_and_real_holds_stay(place: Place, clock: Clock) -> None:
    enqueue(place, unique("a", holds="c:mail: f:t1"))

    assert place.dump()["j:a"] == record("parked", holds="c:mail: f:t1", waiters="!add:k")


def _succeed(place: Place) -> None:
    [delivery] = deliver(place)
    assert settle(place, outcome(delivery, "c", 0)) == "K"


def _fail(place: Place) -> None:
    [delivery] = deliver(place)
    assert settle(place, outcome(delivery, "f", value=ERROR)) == "K"


def _revoke_running(place: Place) -> None:
    [delivery] = deliver(place)
    assert revoke(place, "a") == [True]
    assert holder(place) == "a", "it runs on until its worker has heard"
    assert settle(place, outcome(delivery, "c", 0)) == "K"


def _revoke_at_once(place: Place) -> None:
    deliver(place)
    assert revoke(place, "a", at_once=True) == [True]


def _revoke_waiting(place: Place) -> None:
    assert revoke(place, "a") == [True]


def _bury(place: Place) -> None:
    register(place, "w1")
    crash(place, times=1)
    for _ in range(2):
        place.lease("w1")
        place.admin("ZADD", f"{place.prefix}d", "XX", 1, "a")
        assert fetch(place, lanes=["default:5", "default:z"]).deliveries
        assert holder(place) == "a", "a crash is not its end"
        reap(place, "w1")


ENDS = {
    "success": (unique("a"), _succeed),
    "failure": (unique("a"), _fail),
    "revoked while it runs": (unique("a"), _revoke_running),
    "revoked at once": (unique("a"), _revoke_at_once),
    "revoked in its queue": (unique("a"), _revoke_waiting),
    "revoked before it is due": (unique("a", due="+9000"), _revoke_waiting),
    "revoked at its gate": (unique("a", holds="c:mail:"), _revoke_waiting),
    "the death of its workers": (unique("a"), _bury),
}


@pytest.mark.parametrize("how", ENDS)
def test_every_end_of_a_job_gives_its_key_back(how: str, place: Place, clock: Clock) -> None:
    job, end = ENDS[how]
    assert made(place, job) == "a"
    assert made(place, unique("b")) == "a"

    end(place)

    assert holder(place) is None
    assert place.dump()["j:a"]["state"] in {"completed", "failed", "revoked"}
    assert made(place, unique("c")) == "c"


@pytest.mark.parametrize("due", ["", "+100"])
@pytest.mark.parametrize("holds", ["", "c:mail:"])
def test_a_job_that_expires_gives_its_key_back(
    due: str, holds: str, place: Place, clock: Clock
) -> None:
    enqueue(place, unique("a", due=due, holds=holds, expires="+50"))
    place.lease("w1")

    clock.advance(60)
    assert fetch(place).deliveries == []

    assert place.dump()["j:a"]["state"] == "revoked"
    assert made(place, unique("c")) == "c"


def test_a_retry_keeps_the_key(place: Place, clock: Clock) -> None:
    enqueue(place, unique("a"))
    [delivery] = deliver(place)

    settle(place, outcome(delivery, "r", "+1000", ERROR))

    assert made(place, unique("b")) == "a"


@pytest.mark.parametrize("holds", ["", "c:mail:"])
def test_a_key_until_the_start_is_given_back_as_the_job_is_handed_out(
    holds: str, place: Place, clock: Clock
) -> None:
    enqueue(place, unique("a", until="s", holds=holds))
    assert place.dump()["j:a"]["waiters"] == "?add:k"
    assert made(place, unique("b", until="s")) == "a"

    [delivery] = deliver(place)

    assert delivery.job_id == b"a"
    assert "waiters" not in place.dump()["j:a"]
    assert made(place, unique("c", until="s")) == "c"


def test_a_retry_does_not_take_a_key_that_ended_with_the_start(place: Place, clock: Clock) -> None:
    enqueue(place, unique("a", until="s"))
    [delivery] = deliver(place)
    enqueue(place, unique("b", until="s"))

    settle(place, outcome(delivery, "r", "+10", ERROR))
    clock.advance(20)
    first, second = deliver(place)

    assert {first.job_id, second.job_id} == {b"a", b"b"}
    assert settle(place, outcome(first, "c", 0), outcome(second, "c", 0)) == "KK"
    assert holder(place) is None


def test_who_waits_for_its_end_is_still_told_after_its_start(place: Place, clock: Clock) -> None:
    enqueue(place, unique("a", until="s"))
    place.admin("HSET", f"{place.prefix}j:a", "w", "?add:k 0a1b2c3d")

    deliver(place)

    assert place.dump()["j:a"]["waiters"] == "0a1b2c3d"


def test_a_key_with_a_bound_is_free_when_that_has_passed_and_the_first_job_takes_nothing_back(
    place: Place, clock: Clock
) -> None:
    enqueue(place, unique("a", for_ms="60000"))
    assert 0 < place.admin("PTTL", place.prefix + LOCK) <= 60_000
    place.admin("DEL", place.prefix + LOCK)  # as its expiry would

    assert made(place, unique("b", for_ms="60000")) == "b"
    first, second = deliver(place)
    settle(place, outcome(first, "c", 0))
    assert holder(place) == "b", "it is not the first job's to give back"

    settle(place, outcome(second, "c", 0))
    assert holder(place) is None


def test_a_replaced_job_ends_as_revoked_and_the_new_one_has_the_key(
    place: Place, clock: Clock
) -> None:
    enqueue(place, unique("a", due="+5000"))
    clock.advance(30)

    assert made(place, unique("b", "p")) == "b"

    assert place.dump() == {
        "j:a": record("revoked", value=b"replaced", finished=30, due=START + 5000),
        "j:b": record("queued", token=CURRENT, enqueued=START + 30, waiters="!add:k"),
        "s:default:5": [("b", b"<b>", None)],
        "l": {"default:5"},
        "b:default": 1,
        LOCK: b"b",
    }


@pytest.mark.parametrize("lane", ["default:5", "mail:9"])
@pytest.mark.parametrize("first", [unique("a"), unique("a", holds="c:mail:")])
def test_a_job_is_replaced_wherever_it_waits(
    first: NewJob, lane: str, place: Place, clock: Clock
) -> None:
    enqueue(place, first)

    assert made(place, unique("b", "p", lane=lane)) == "b"

    place.lease("w1")
    [delivery] = fetch(place, lanes=["default:5", "mail:9"]).deliveries
    assert delivery.job_id == b"b"


def test_what_replaces_a_job_in_the_same_call_is_found_in_its_lane(
    place: Place, clock: Clock
) -> None:
    enqueue(place, unique("a"), unique("b", "p"), new_job("c"))

    assert [each.job_id for each in deliver(place)] == [b"b", b"c"]


def test_a_job_that_runs_is_returned_and_not_replaced(place: Place, clock: Clock) -> None:
    enqueue(place, unique("a"))
    deliver(place)

    assert made(place, unique("b", "p")) == "a"


def test_a_debounced_call_gives_the_job_its_arguments_and_starts_its_countdown_again(
    place: Place, clock: Clock
) -> None:
    enqueue(place, debounced("a"))
    clock.advance(900)

    assert made(place, debounced("b", expires="+60000")) == "a"

    dump = place.dump()
    assert dump["j:a"] == record(
        "delayed", due=START + 1900, expires=START + 60_900, waiters="?add:k"
    )
    assert dump["y:a"] == b"<b>"
    assert dump["d"] == {"a": START + 1900}
    assert "j:b" not in dump
    place.lease("w1")
    clock.advance(900)
    assert fetch(place).deliveries == []
    clock.advance(100)
    [delivery] = fetch(place).deliveries
    assert (delivery.job_id, delivery.payload) == (b"a", b"<b>")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (debounced("a", due=""), debounced("b", due="")),
        (debounced("a", due="", holds="c:mail:"), debounced("b", due="")),
        (debounced("a", due=""), debounced("b", due="", holds="c:mail:", lane="mail:2")),
        (debounced("a"), debounced("b", due="", lane="mail:2")),
    ],
)
def test_a_job_that_waits_anywhere_goes_where_the_newest_call_wants_it(
    first: NewJob, second: NewJob, place: Place, clock: Clock
) -> None:
    enqueue(place, first)
    clock.advance(40)

    assert made(place, second) == "a"

    place.lease("w1")
    [delivery] = fetch(place, lanes=["default:5", "mail:2"]).deliveries
    assert (delivery.job_id, delivery.payload) == (b"a", b"<b>")
    assert place.dump()["j:a"]["enqueued"] == START
    assert settle(place, outcome(delivery, "c", 0)) == "K"


def test_a_job_that_waits_anew_rings_again_for_a_worker_that_had_not_heard_yet(
    place: Place, clock: Clock
) -> None:
    """Else nobody would set a timer, and the job would be late by the longest nap of a worker."""
    enqueue(place, debounced("a"))

    for name in "bcd":
        clock.advance(10)
        enqueue(place, debounced(name))
        assert place.dump()["b:default"] == 1


def test_a_call_while_the_job_runs_makes_a_new_one(place: Place, clock: Clock) -> None:
    enqueue(place, debounced("a", due=""))
    [delivery] = deliver(place)

    assert made(place, debounced("b", due="")) == "b"

    settle(place, outcome(delivery, "c", 0))
    assert holder(place) == "b"


def test_a_retry_whose_arguments_are_replaced_gets_an_entry_of_its_own(
    place: Place, clock: Clock
) -> None:
    """In another lane it could have the id of the one before, and a late word would pass."""
    enqueue(place, unique("a"))
    [old] = deliver(place)
    settle(place, outcome(old, "r", "+1", ERROR))

    assert made(place, debounced("b", due="", lane="mail:2")) == "a"

    clock.advance(2)
    [new] = fetch(place, lanes=["mail:2"]).deliveries
    assert new.entry_id != old.entry_id
    assert settle(place, outcome(old, "c", 0)) == "S"
    assert settle(place, outcome(new, "c", 0)) == "K"


@pytest.mark.parametrize("conflict", ["r", "j", "p", "b"])
@pytest.mark.parametrize("nonce", ["", "n1"])
def test_a_call_sent_again_is_answered_as_the_first_time(
    conflict: str, nonce: str, place: Place, clock: Clock
) -> None:
    enqueue(place, unique("a", due="+9000"))
    call = unique("b", conflict, due="+500", nonce=nonce)
    first = enqueue(place, call)
    before = place.dump()
    clock.advance(100)

    assert enqueue(place, call) == first
    assert place.dump() == before


@pytest.mark.parametrize("conflict", ["r", "j", "p", "b"])
def test_a_job_that_made_itself_unique_is_not_its_own_conflict(
    conflict: str, place: Place, clock: Clock
) -> None:
    job = unique("a", conflict)
    first = enqueue(place, job)

    assert first.created == [True]
    assert enqueue(place, job) == first


def test_a_debounced_call_sent_again_after_the_start_makes_no_second_job(
    place: Place, clock: Clock
) -> None:
    enqueue(place, debounced("a", due=""))
    assert made(place, debounced("b", due="")) == "a"
    [delivery] = deliver(place)

    assert made(place, debounced("b", due="")) == "a"

    settle(place, outcome(delivery, "c", 0))
    assert "j:b" not in place.dump()


def test_an_older_call_sent_again_does_not_bring_its_arguments_back(
    place: Place, clock: Clock
) -> None:
    enqueue(place, debounced("a"))
    enqueue(place, debounced("b"))
    enqueue(place, debounced("c"))

    assert made(place, debounced("b")) == "a"

    assert place.dump()["y:a"] == b"<c>"


def test_a_replacement_sent_again_after_it_was_replaced_does_not_come_back(
    place: Place, clock: Clock
) -> None:
    enqueue(place, unique("a"))
    enqueue(place, unique("b", "p"))
    enqueue(place, unique("c", "p"))
    before = place.dump()

    assert made(place, unique("b", "p")) == "b"

    assert place.dump() == before


def _ended(place: Place) -> None:
    place.admin("HSET", f"{place.prefix}j:a", "s", "c")
    place.admin("PEXPIRE", f"{place.prefix}j:a", 120_000)


def _gone(place: Place) -> None:
    place.admin("DEL", f"{place.prefix}j:a")


@pytest.mark.parametrize("damage", [_ended, _gone])
def test_a_key_of_a_job_that_is_gone_or_has_ended_keeps_nobody_out(
    damage: Callable[[Place], None], place: Place, clock: Clock
) -> None:
    place.is_sound = False
    enqueue(place, unique("a"))
    damage(place)

    assert made(place, unique("b")) == "b"
    assert holder(place) == "b"


def test_a_replayed_dead_letter_runs_without_its_key_and_takes_nobody_elses(
    place: Place, clock: Clock
) -> None:
    enqueue(place, unique("a"))
    [delivery] = deliver(place)
    settle(place, outcome(delivery, "f", value=ERROR))
    assert made(place, unique("b")) == "b"

    assert place.run(letters.replay(place.prefix, nonce="n", job_ids=["a"])) == "K"

    first, second = deliver(place)
    assert settle(place, outcome(first, "c", 0)) == "K"
    assert (first.job_id, holder(place)) in {(b"a", "b"), (b"b", None)}
    assert settle(place, outcome(second, "c", 0)) == "K"
    assert holder(place) is None


@pytest.mark.parametrize("conflict", ["r", "p", "b"])
def test_a_full_server_takes_no_unique_job_and_changes_none(
    conflict: str, place: Place, clock: Clock
) -> None:
    enqueue(place, unique("a", due="+9000"))
    before = place.dump()
    place.admin("CONFIG", "SET", "maxmemory", 1)
    try:
        if conflict == "r":  # nothing is written
            assert made(place, unique("b", conflict)) == "a"
        else:
            with pytest.raises(Exception, match=r"maxmemory|OOM"):
                enqueue(place, unique("b", conflict, due="+1"))
    finally:
        place.admin("CONFIG", "SET", "maxmemory", 0)

    assert place.dump() == before


def test_a_plain_job_looks_at_no_key(place: Place) -> None:
    place.admin("CONFIG", "RESETSTAT")
    enqueue(place, new_job("a"), ask=False)

    stats = place.admin("INFO", "commandstats").decode()
    calls = set(re.findall(r"cmdstat_(\w+):", stats))
    assert "hset" in calls
    assert not calls & {"get", "set", "hget", "hmget", "del"}


LANES = ("default:5", "mail:2")
HOLDS = ("", "", "c:mail:", "f:t1", "b:paced:")


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_each_key_has_one_live_job_and_none_is_left_behind(  # noqa: C901 - one step of each kind
    seed: int, place: Place, clock: Clock
) -> None:
    dice = random.Random(seed)
    place.lease("w1")
    place.admin("HSET", f"{place.prefix}lr", "c:mail", "1", "b:paced", "1 100000 1")
    held: list[Delivery] = []
    waits: dict[str, str] = {}

    def one() -> NewJob:
        conflict = dice.choice("rjpb")
        until = "s" if conflict == "b" else dice.choice("sdd")
        job = unique(
            f"{len(waits):03}",
            conflict,
            until=until,
            lane=dice.choice(LANES),
            holds=dice.choice(HOLDS),
            due=dice.choice(["", "", "+50", "+400"]),
            expires=dice.choice(["", "", "", "+120"]),
        )
        key = dice.choice(["k", "l"])
        job = job._replace(lane=job.lane.replace("add:k", f"add:{key}"))
        waits[job.job_id] = key
        return job

    def step() -> None:
        what = dice.randrange(8)
        if what < 3:
            jobs = [one() for _ in range(dice.choice([1, 1, 1, 4]))]
            made_first = enqueue(place, *jobs, ask=False)
            before = place.dump()
            if len(jobs) == 1:
                assert enqueue(place, *jobs, ask=False) == made_first
                assert place.dump() == before
        elif what < 5:
            lanes = [*LANES, "default:z", "mail:z"]
            held.extend(fetch(place, lanes=lanes, room=2).deliveries)
        elif what == 5 and held:
            op = dice.choice([("c", "0"), ("f", ""), ("r", "+30"), ("n", "+30"), ("l", "")])
            settle(place, outcome(held.pop(dice.randrange(len(held))), *op, ERROR))
        elif what == 6 and waits:
            revoke(place, dice.choice(sorted(waits)), at_once=dice.random() < 0.3)
        else:
            clock.advance(dice.randrange(200))

    for _ in range(60):
        step()
        assert place.problems() == []
        live: Counter[str] = Counter()
        for name, value in place.dump().items():
            if name.startswith("j:") and value["state"] not in {"completed", "failed", "revoked"}:
                words = value.get("waiters", "").split()
                live.update(words)
        assert all(count == 1 for count in live.values()), live

    revoke(place, *waits, at_once=True)
    assert not {name for name in place.dump() if name.startswith("un:")}
