"""Plans on the server: what waits begins with its last dependency, whatever becomes of others."""

import msgspec
import pytest

from aioq.broker import letters, plans, scripts
from aioq.broker.plans import NewNode
from aioq.core import codec
from tests.broker.calls import beat, deliver, enqueue, fetch, outcome, settle
from tests.broker.clock import Clock
from tests.broker.place import START, Place, new_job

pytestmark = pytest.mark.broker

ONE = codec.encode_value(1)


def node(job_id: str, needs: int = 0, tells: str = "", kind: str = "j", **given: str) -> NewNode:
    values = {"lane": "default:5", "task": "t", "due": "", "expires": "", "nonce": "", **given}
    payload = b"\x01\x00\x91\x90"
    return NewNode(job_id=job_id, payload=payload, needs=needs, tells=tells, kind=kind, **values)


def plan(place: Place, root: str, *nodes: NewNode, mode: str = "w") -> bool:
    call = plans.plan(
        place.prefix, root=root, mode=mode, keep_ms=3_600_000, count=len(nodes), nodes=nodes
    )
    return place.run(call)


def chord(place: Place, members: int, **given: str) -> bool:
    heads = [node(f"m{n}", tells=f">body:{n}") for n in range(members)]
    return plan(place, "body", *heads, node("body", needs=members, **given))


def run_all(place: Place, value: bytes = ONE) -> list[str]:
    """Run all that is ready, and return the jobs in the order of their deliveries."""
    ran: list[str] = []
    while deliveries := deliver(place):
        settle(place, *[outcome(each, "c", 3_600_000, value) for each in deliveries])
        ran += [each.job_id.decode() for each in deliveries]
    return ran


def state(place: Place, job_id: str) -> str:
    found = place.admin("HGET", f"{place.prefix}j:{job_id}", "s")
    return (found or b"").decode()


def error(place: Place, job_id: str) -> list[str]:
    looked = place.run(scripts.look(place.prefix, job_id=job_id))
    assert looked.value is not None
    return msgspec.msgpack.decode(looked.value)


def test_a_body_begins_in_the_settle_of_its_last_member(place: Place) -> None:
    assert chord(place, 3)
    first, second, third = deliver(place)
    assert settle(place, outcome(first, "c", 1000, ONE), outcome(second, "c", 1000, ONE)) == "KK"
    assert deliver(place) == []
    settle(place, outcome(third, "c", 1000, codec.encode_value("last")))
    (body,) = deliver(place)
    assert body.job_id == b"body"
    assert body.payload[:1] == b"I"
    items = msgspec.msgpack.decode(body.payload[5 + len(node("x").payload) :])
    assert items == [b"c\x01", b"c\x01", b"c\xa4last"]
    settle(place, outcome(body, "c", 1000, ONE))
    assert state(place, "body") == "c"


def test_a_plan_sent_again_is_made_once(place: Place) -> None:
    assert chord(place, 2)
    assert chord(place, 2)
    assert run_all(place) == ["m0", "m1", "body"]
    assert chord(place, 2)
    assert run_all(place) == []


def test_results_that_are_large_wait_in_a_key_of_their_own(place: Place) -> None:
    chord(place, 3)
    large = codec.encode_value("x" * 50_000)
    settle(place, *[outcome(each, "c", 1000, large) for each in deliver(place)])
    (body,) = deliver(place)
    assert body.payload[:1] == b"J"
    read = place.run(plans.gather(place.prefix, job_id="body", first=1, count=2))
    assert read == (None, [b"c" + large, b"c" + large])
    settle(place, outcome(body, "c", 1000, ONE))
    assert place.admin("EXISTS", f"{place.prefix}g:body") == 0


def test_a_member_that_fails_ends_what_waits_at_once_and_names_itself(place: Place) -> None:
    plan(
        place,
        "last",
        node("a", tells=">b:0"),
        node("c", tells=">b:1"),
        node("b", needs=2, tells=">last:0"),
        node("last", needs=1, tells="<cleanup"),
        node("cleanup", needs=1, kind="e"),
    )
    failing, running = deliver(place)
    boom = codec.encode_error(ValueError("boom"))
    settle(place, outcome(failing, "f", 0, boom))
    assert [state(place, each) for each in ("b", "last")] == ["f", "f"]
    expected = ["aioq.core.errors.DependencyFailed", "job a of t failed: ValueError: boom"]
    assert error(place, "b") == error(place, "last") == expected
    (cleanup,) = deliver(place)
    assert cleanup.job_id == b"cleanup"
    assert cleanup.payload[:1] == b"I"
    settle(place, outcome(cleanup, "c", 1000, ONE), outcome(running, "c", 1000, ONE))
    assert deliver(place) == []


def test_a_job_for_errors_is_removed_where_there_are_none(place: Place) -> None:
    plan(place, "a", node("a", tells="<e"), node("e", needs=1, kind="e"))
    assert run_all(place) == ["a"]
    assert state(place, "e") == ""


def test_a_gather_keeps_what_it_gathers_and_never_runs(place: Place) -> None:
    heads = [node(f"m{n}", tells=f">all:{n}") for n in range(3)]
    plan(place, "all", *heads, node("all", needs=4, kind="g", task="aioq.group"))
    assert place.run(plans.progress(place.prefix, root="all")) == ("w", 1, 4, 4)
    assert run_all(place) == ["m0", "m1", "m2"]
    assert state(place, "all") == "c"
    assert place.run(plans.progress(place.prefix, root="all")) == ("c", 4, 4, 4)
    read = place.run(plans.gather(place.prefix, job_id="all", first=0, count=3))
    assert read.items == [b"c\x01"] * 3
    assert read.shape == node("x").payload


def test_a_gather_may_take_errors_for_results(place: Place) -> None:
    heads = [node(f"m{n}", tells=f">all:{n}") for n in range(2)]
    plan(place, "all", *heads, node("all", needs=3, kind="G", task="aioq.group"))
    first, second = deliver(place)
    settle(place, outcome(first, "f", 0, codec.encode_error(ValueError("boom"))))
    assert state(place, "all") == "w"
    settle(place, outcome(second, "c", 1000, ONE))
    read = place.run(plans.gather(place.prefix, job_id="all", first=0, count=2))
    assert [item and item[:1] for item in read.items] == [b"f", b"c"]


def test_a_revoke_of_the_root_ends_all_jobs_of_its_workflow(place: Place) -> None:
    chord(place, 2)
    (flags,) = place.run(scripts.revoke(place.prefix, at_once=False, keep_ms=0, job_ids=["body"]))
    assert flags == 3
    found = place.run(plans.members(place.prefix, root="body", first=0, count=2))
    assert found == ["body", "m1"]
    found += place.run(plans.members(place.prefix, root="body", first=2, count=2))
    place.run(scripts.revoke(place.prefix, at_once=False, keep_ms=0, job_ids=found))
    assert [state(place, each) for each in ("body", "m0", "m1")] == ["x"] * 3
    assert deliver(place) == []


def test_a_member_that_is_revoked_fails_what_waits_for_it(place: Place) -> None:
    chord(place, 2)
    place.run(scripts.revoke(place.prefix, at_once=False, keep_ms=0, job_ids=["m1"]))
    assert error(place, "body")[1] == "job m1 of t was revoked"


def test_a_replay_of_the_member_lets_the_workflow_go_on(place: Place) -> None:
    plan(
        place,
        "last",
        node("a", tells=">b:0"),
        node("c", tells=">b:1"),
        node("b", needs=2, tells=">last:0"),
        node("last", needs=1),
    )
    first, second = deliver(place)
    boom = codec.encode_error(ValueError("boom"))
    settle(place, outcome(first, "f", 0, boom), outcome(second, "f", 0, boom))
    assert place.run(letters.replay(place.prefix, nonce="1", job_ids=["a"])) == "K"
    assert state(place, "b") == "f", "the other one is still dead"
    assert place.run(letters.replay(place.prefix, nonce="2", job_ids=["last"])) == "K"
    assert [state(place, each) for each in ("b", "last")] == ["w", "w"]
    assert run_all(place) == ["a", "c", "b", "last"]


def test_a_job_that_waits_begins_by_its_own_options(place: Place, clock: Clock) -> None:
    chord(place, 1, due="+60000", expires="+90000", lane="mail:9")
    clock.advance(5_000)
    run_all(place)
    assert state(place, "body") == "d"
    read = place.admin("HMGET", f"{place.prefix}j:body", "d", "x", "n")
    assert [int(each) for each in read] == [START + 65_000, START + 95_000, START]
    clock.advance(61_000)
    assert [each.job_id for each in fetch(place, lanes=["mail:9"]).deliveries] == [b"body"]


def test_many_dependents_are_told_over_several_calls(place: Place) -> None:
    words = " ".join(f">d{n}:0" for n in range(600))
    parts = [node("a", tells=words), *[node(f"d{n}", 1, f">all:{n}") for n in range(600)]]
    parts.append(node("all", needs=601, kind="g", task="aioq.group"))
    for at in range(0, len(parts), 250):
        assert plan(place, "all", *parts[at : at + 250], mode="f" if at == 0 else "p")
    assert deliver(place) == []
    assert place.run(plans.seal(place.prefix, root="all"))
    assert place.run(plans.seal(place.prefix, root="all"))
    assert run_all(place) == ["a", *[f"d{n}" for n in range(600)]]
    assert state(place, "all") == "c"


def test_a_plan_that_is_not_sealed_is_given_up(place: Place, clock: Clock) -> None:
    place.lease("w1")
    assert plan(place, "b", node("a", tells=">b:0"), mode="f")
    assert plan(place, "b", node("b", needs=1), mode="p")
    beat(place, lease_ms=200_000)
    clock.advance(61_000)
    beat(place, lease_ms=200_000)
    fetch(place)
    assert [state(place, each) for each in "ab"] == ["x", "x"]
    assert not place.run(plans.seal(place.prefix, root="b"))
    assert not plan(place, "b", node("c", tells=">b:1"), mode="p"), "it comes too late"


def test_a_long_chain_that_fails_does_so_over_several_calls(place: Place) -> None:
    count = 1000
    steps = [
        node(f"s{n}", needs=int(n > 0), tells=f">s{n + 1}:0" if n < count - 1 else "")
        for n in range(count)
    ]
    for at in range(0, count, 250):
        plan(place, f"s{count - 1}", *steps[at : at + 250], mode="f" if at == 0 else "p")
    place.run(plans.seal(place.prefix, root=f"s{count - 1}"))
    (first,) = deliver(place)
    settle(place, outcome(first, "f", 0, codec.encode_error(ValueError("boom"))))
    while place.admin("EXISTS", f"{place.prefix}gl"):
        fetch(place)
    assert error(place, f"s{count - 1}")[1] == "job s0 of t failed: ValueError: boom"
    assert place.admin("EXISTS", f"{place.prefix}gl") == 0


def test_a_plain_job_beside_a_plan_is_as_it_was(place: Place) -> None:
    enqueue(place, new_job("plain"))
    chord(place, 1)
    assert run_all(place) == ["plain", "m0", "body"]


def test_what_is_gathered_in_the_middle_stays_until_the_workflow_ends(place: Place) -> None:
    members = [node(f"m{n}", tells=f">mid:{n}") for n in range(2)]
    mid = node("mid", 3, " ".join(f">{each}:0" for each in "ab"), "g", task="aioq.group")
    takers = [node(each, 1, f">all:{n}") for n, each in enumerate("ab")]
    root = node("all", 3, kind="g", task="aioq.group")
    plan(place, "all", *members, mid, *takers, root)
    settle(place, *[outcome(each, "c", 1000, ONE) for each in deliver(place)])
    assert state(place, "mid") == "c"
    gathered = f"{place.prefix}g:mid"
    assert place.admin("PTTL", gathered) == -1
    run_all(place)
    assert state(place, "all") == "c"
    assert 0 < place.admin("PTTL", gathered) <= 3_600_000, "it is a part of what the root gathers"


def test_what_is_gathered_in_the_middle_goes_where_nobody_can_read_it_any_more(
    place: Place,
) -> None:
    mid = node("mid", 2, ">a:0 >b:0", "g", task="aioq.group")
    takers = [node(each, 1, f">last:{n}") for n, each in enumerate("ab")]
    plan(place, "last", node("m", tells=">mid:0"), mid, *takers, node("last", 2))
    assert len(run_all(place)) == 4
    assert place.admin("EXISTS", f"{place.prefix}g:mid", f"{place.prefix}gk:last") == 0


def test_what_is_gathered_in_the_middle_stays_for_a_replay(place: Place) -> None:
    mid = node("mid", 2, ">a:0 >b:0", "g", task="aioq.group")
    takers = [node(each, 1, f">all:{n}") for n, each in enumerate("ab")]
    root = node("all", 3, kind="g", task="aioq.group")
    plan(place, "all", node("m", tells=">mid:0"), mid, *takers, root)
    settle(place, *[outcome(each, "c", 1000, ONE) for each in deliver(place)])
    failing, _ = deliver(place)
    settle(place, outcome(failing, "f", 0, codec.encode_error(ValueError("boom"))))
    assert place.admin("PTTL", f"{place.prefix}g:mid") > 3_600_000
    assert place.run(letters.replay(place.prefix, nonce="1", job_ids=["all"])) == "K"
