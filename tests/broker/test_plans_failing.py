"""Plans that fail and go on, in several calls and in odd orders: nothing hangs, nothing is left."""

from typing import Any

import pytest

from aioq.broker import letters, plans
from aioq.broker.scripts import Settlement
from aioq.core import codec
from tests.broker.calls import beat, deliver, fetch, outcome, revoke, settle
from tests.broker.clock import Clock
from tests.broker.place import Place
from tests.broker.test_plans import ONE, chord, error, node, plan, run_all, state

pytestmark = pytest.mark.broker

BOOM = codec.encode_error(ValueError("boom"))
MANY = 900
"""More than one call tells."""


def replay(place: Place, *job_ids: str) -> str:
    replay.nonce += 1  # pyright: ignore[reportFunctionMemberAccess]
    nonce = str(replay.nonce)  # pyright: ignore[reportFunctionMemberAccess]
    return place.run(letters.replay(place.prefix, nonce=nonce, job_ids=job_ids))


replay.nonce = 0  # pyright: ignore[reportFunctionMemberAccess]


def failed(each: Any) -> Settlement:  # noqa: ANN401 - a delivery
    return outcome(each, "f", 0, BOOM)


def fan(place: Place, *, tells: str = "") -> None:
    """Make a job that very many others wait for."""
    words = " ".join(f">d{n}:0" for n in range(MANY))
    parts = [node("a", tells=f"{words} {tells}".strip())]
    parts += [node(f"d{n}", 1, f">all:{n}") for n in range(MANY)]
    parts.append(node("all", needs=MANY + 1, kind="g", task="aioq.group"))
    for at in range(0, len(parts), 250):
        assert plan(place, "all", *parts[at : at + 250], mode="f" if at == 0 else "p")
    assert place.run(plans.seal(place.prefix, root="all"))


def has_errands(place: Place) -> bool:
    return bool(place.admin("EXISTS", f"{place.prefix}gl"))


def do_errands(place: Place) -> None:
    while has_errands(place):
        fetch(place, worker="w2", lanes=["none:5"])


def test_a_dead_letter_that_was_discarded_does_not_come_back_without_its_arguments(
    place: Place,
) -> None:
    chord(place, 1)
    settle(place, *map(failed, deliver(place)))
    assert place.run(letters.discard(place.prefix, nonce="1", job_ids=["body"])) == [True]
    assert replay(place, "m0") == "K"
    assert state(place, "body") == "f"
    assert run_all(place) == ["m0"]
    assert state(place, "body") == "f"


def test_a_member_that_was_replayed_before_all_had_heard_of_its_failure_is_told_of_anew(
    place: Place,
) -> None:
    place.lease("w2")
    fan(place)
    settle(place, *map(failed, deliver(place)))
    assert has_errands(place)
    assert replay(place, "a") == "K"
    place.admin("RENAME", f"{place.prefix}gl", f"{place.prefix}gs:aside")  # nobody comes for it
    (again,) = deliver(place)
    place.admin("RENAME", f"{place.prefix}gs:aside", f"{place.prefix}gl")
    settle(place, outcome(again, "c", 3_600_000, ONE))
    ran = run_all(place)
    do_errands(place)
    ran += run_all(place)
    assert sorted(ran) == sorted(f"d{n}" for n in range(MANY))
    assert state(place, "all") == "c"


def test_news_of_a_failure_that_comes_after_a_replay_ends_nobody(place: Place) -> None:
    fan(place, tells=">late:0")
    plan(place, "late", node("b", tells=">late:1"), node("late", needs=2))
    a, b = deliver(place)
    settle(place, failed(a))
    while state(place, "late") == "w" and has_errands(place):
        fetch(place, worker="w1", lanes=["none:5"])
    assert error(place, "late")[1] == "job a of t failed: ValueError: boom"
    replay(place, "a")
    settle(place, outcome(b, "c", 1000, ONE))
    do = run_all(place)
    place.lease("w2")
    do_errands(place)
    do += run_all(place)
    assert do.count("late") == 1


def test_all_for_whom_a_join_failed_are_replayed_a_part_at_a_time(place: Place) -> None:
    members = [node(f"m{n}", tells=f">body:{n}") for n in range(240)]
    plan(place, "body", *members, node("body", needs=240))
    settle(place, *map(failed, deliver(place)))
    place.lease("w2")
    do_errands(place)
    verdicts = replay(place, "body")
    while verdicts[-1] == "M":
        assert state(place, "body") == "f"
        verdicts += replay(place, "body")
    assert 2 <= len(verdicts) <= 4
    assert state(place, "body") == "w"
    ran = run_all(place)
    do_errands(place)
    assert len(ran + run_all(place)) == 241


def test_the_end_of_a_long_chain_replays_its_first_failure(place: Place) -> None:
    count = 600
    steps = [
        node(f"s{n}", needs=int(n > 0), tells=f">s{n + 1}:0" if n < count - 1 else "")
        for n in range(count)
    ]
    for at in range(0, count, 200):
        plan(place, f"s{count - 1}", *steps[at : at + 200], mode="f" if at == 0 else "p")
    place.run(plans.seal(place.prefix, root=f"s{count - 1}"))
    settle(place, *map(failed, deliver(place)))
    place.lease("w2")
    do_errands(place)
    assert replay(place, f"s{count - 1}") in {"K", "M"}
    assert run_all(place) == [f"s{n}" for n in range(count)]


def test_a_plan_that_was_revoked_before_its_seal_does_not_begin(place: Place) -> None:
    plan(place, "b", node("b", needs=1), mode="f")
    revoke(place, "b")
    plan(place, "b", node("a", tells=">b:0"), mode="p")
    assert not place.run(plans.seal(place.prefix, root="b"))
    assert deliver(place) == []
    assert [state(place, each) for each in "ab"] == ["x", "x"]


def test_words_with_signs_in_them_outlive_a_plan_that_is_given_up(
    place: Place, clock: Clock
) -> None:
    place.lease("w1")
    plan(place, "b", node("a", tells=">b:0"), mode="f")
    plan(place, "b", node("b", needs=1), mode="p")
    place.admin("HSET", f"{place.prefix}j:a", "w", "!k-1>2=3 >b:0")
    place.admin("SET", f"{place.prefix}un:k-1>2=3", "a")
    clock.advance(61_000)
    beat(place, lease_ms=200_000)
    fetch(place)
    assert state(place, "a") == "x"
    assert place.admin("EXISTS", f"{place.prefix}un:k-1>2=3") == 0


def test_large_results_are_told_to_few_in_a_call(place: Place) -> None:
    fan(place)
    large = codec.encode_value("x" * 1_000_000)
    (member,) = deliver(place)
    settle(place, outcome(member, "c", 3_600_000, large))
    begun = [n for n in range(MANY) if state(place, f"d{n}") != "w"]
    assert 1 <= len(begun) <= 10
    revoke(place, "all", *(f"d{n}" for n in range(MANY)), at_once=True)
    place.lease("w2")
    do_errands(place)


def test_an_old_failure_is_not_told_to_those_who_wait_for_the_replay(place: Place) -> None:
    plan(
        place,
        "late",
        node("a", tells=">late:0"),
        node("b", tells=">late:1"),
        node("late", needs=2),
    )
    a, _ = deliver(place)
    settle(place, failed(a))
    assert replay(place, "a") == "K"
    place.admin("RPUSH", f"{place.prefix}gl", b"o a >late:0 f" + BOOM)
    fetch(place, lanes=["none:5"])
    assert state(place, "late") == "w"
    assert not has_errands(place)
