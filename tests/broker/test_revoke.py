"""revoke.lua: end jobs on request, wherever they are."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from aioq.broker import scripts
from aioq.broker.connection import dial
from aioq.broker.scripts import Delivery
from aioq.broker.topology import parse
from tests.broker.calls import (
    beat,
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
from tests.broker.place import CURRENT, FOREVER, START, Place, new_job, record, without
from tests.eventually import eventually

pytestmark = pytest.mark.broker

HOUR = 3_600_000
LEASED = {"lw": {"w1": FOREVER}}
EMPTY_LANE: dict[str, object] = {"s:default:5": [], "ss": {"default:5"}}


@asynccontextmanager
async def listening(place: Place, channel: str) -> AsyncGenerator[list[bytes]]:
    """Collect what is published on a channel."""
    heard: list[bytes] = []

    def hear(push: list[Any]) -> None:
        if push[0] == b"message":
            heard.append(push[2])

    connection = await dial(parse(place.url, prefix=place.prefix), on_push=hear)
    await connection.call("SUBSCRIBE", place.prefix + channel)
    try:
        yield heard
    finally:
        connection.drop()


def order(delivery: Delivery) -> bytes:
    """Return what a worker is told to end a delivery."""
    return delivery.entry_id + b" " + delivery.job_id


def test_a_queued_job_ends_at_once_and_leaves_only_its_record(place: Place, clock: Clock) -> None:
    enqueue(place, new_job("a"))
    clock.advance(70)
    assert revoke(place, "a", keep_ms=HOUR) == [True]
    assert place.dump() == {"j:a": record("revoked", value=b"revoked", finished=70)}
    assert HOUR - 9000 < place.expiring()["j:a"] <= HOUR
    assert deliver(place) == []


def test_a_record_is_kept_two_minutes_at_least(place: Place, clock: Clock) -> None:
    """A resend of the enqueue must find it (G5)."""
    enqueue(place, new_job("a"))
    revoke(place, "a", keep_ms=0)
    assert 110_000 < place.expiring()["j:a"] <= 120_000
    assert enqueue(place, new_job("a")).created == [True]
    assert deliver(place) == []


def test_its_neighbours_in_the_lane_stay(place: Place, clock: Clock) -> None:
    enqueue(place, *(new_job(name) for name in "abc"))
    revoke(place, "b")
    assert place.bells() == 3
    assert [each.job_id for each in deliver(place)] == [b"a", b"c"]


def test_a_delayed_job_ends_at_once_with_its_payload_and_its_token_gone(
    place: Place, clock: Clock
) -> None:
    enqueue(place, new_job("a", due="+5000", lane="mail:7"))
    assert place.bells("mail") == 1
    revoke(place, "a")
    assert place.dump() == {
        "j:a": record("revoked", value=b"revoked", finished=0, lane="mail:7", due=START + 5000)
    }
    clock.advance(5000)
    assert deliver(place) == []


def test_a_token_stays_where_another_job_of_the_queue_is_ready(place: Place, clock: Clock) -> None:
    enqueue(place, new_job("a", due="+5000"), new_job("b", lane="default:9"))
    revoke(place, "a")
    assert place.bells() == 2
    revoke(place, "b")
    assert place.bells() == 0


def test_a_job_that_waits_for_its_retry_ends_with_the_error_of_its_try_gone(
    place: Place, clock: Clock
) -> None:
    [delivery] = deliver(place, new_job("a"))
    settle(place, outcome(delivery, "r", "+5000", b"boom"))
    assert revoke(place, "a") == [True]
    assert set(place.dump()) == {"j:a", "s:default:5", "ss", "lw"}
    assert place.dump()["j:a"]["value"] == b"revoked"


@pytest.mark.parametrize("crashes", [2, 3, 4])
@pytest.mark.parametrize("is_due", [True, False])
def test_a_suspect_ends_in_its_own_lane(
    place: Place, clock: Clock, crashes: int, *, is_due: bool
) -> None:
    register(place, limits=[scripts.Limit("add", "inf")])
    crash(place, new_job("a"))
    for _ in range(crashes - 1):
        clock.advance(40_000)
        place.lease("w1")
        fetch(place, lanes=["default:5", "default:z"])
        reap(place, "w1")
    if is_due:
        clock.advance(40_000)
        place.lease("w2")
        assert fetch(place, worker="w2", room=0).deliveries == []
        assert place.dump()["s:default:z"] == [("a", b"<a>", None)]
        reap(place, "w2", is_crash=False)
    assert revoke(place, "a") == [True]
    assert set(place.dump()) == {"j:a", "o", "t"}


async def test_the_worker_of_a_running_job_is_told_and_the_job_ends_with_its_run(
    place: Place, clock: Clock
) -> None:
    [delivery] = deliver(place, new_job("a"))
    async with listening(place, "k:w1") as heard:
        assert revoke(place, "a", keep_ms=HOUR) == [True]
        await eventually(lambda: heard == [order(delivery)])
    assert place.dump() == {
        **LEASED,
        "j:a": record("running", token=CURRENT, worker="w1", started=0, revoke=str(HOUR)),
        "s:default:5": [("a", b"<a>", "w1")],
        "ss": {"default:5"},
        "cx:w1": {order(delivery).decode()},
    }
    assert scripts.parse_revoke(heard[0]) == (delivery.entry_id, b"a")
    assert 590_000 < place.expiring()["cx:w1"] <= 600_000
    clock.advance(50)
    assert settle(place, outcome(delivery, "n", "+0")) == "K"
    assert place.dump() == {
        **LEASED,
        **EMPTY_LANE,
        "j:a": record(
            "revoked", worker="w1", started=0, finished=50, value=b"revoked", revoke=str(HOUR)
        ),
    }
    assert HOUR - 9000 < place.expiring()["j:a"] <= HOUR


@pytest.mark.parametrize(
    ("op", "argument"),
    [
        *[("c", 0), ("c", HOUR), ("r", "+10"), ("r", "+0"), ("f", ""), ("n", "+0"), ("n", "+9")],
        *[("u", 0), ("u", 60_000), ("l", "")],
    ],
)
def test_whatever_the_run_comes_to_the_job_ends_as_revoked(
    place: Place, clock: Clock, op: str, argument: str | int
) -> None:
    [delivery] = deliver(place, new_job("a"))
    revoke(place, "a", keep_ms=HOUR)
    word = outcome(delivery, op, argument, b"value" * 99)
    assert settle(place, word) == "K"
    dump = place.dump()
    assert (dump["j:a"]["state"], dump["j:a"]["value"]) == ("revoked", b"revoked")
    assert set(dump) == {"j:a", "lw", "s:default:5", "ss"}
    assert HOUR - 9000 < place.expiring()["j:a"] <= HOUR, "it can be asked for as long as it said"
    assert settle(place, word) == "D"
    assert place.dump() == dump


async def test_a_running_job_that_is_ended_at_once_is_ended_at_once(
    place: Place, clock: Clock
) -> None:
    [delivery] = deliver(place, new_job("a"))
    clock.advance(30)
    async with listening(place, "k:w1") as heard:
        assert revoke(place, "a", at_once=True, keep_ms=HOUR) == [True]
        await eventually(lambda: heard == [order(delivery)])
    ended = {
        **LEASED,
        **EMPTY_LANE,
        "j:a": record("revoked", worker="w1", started=0, finished=30, value=b"revoked"),
    }
    assert place.dump() == ended | {"cx:w1": {order(delivery).decode()}}
    assert settle(place, outcome(delivery, "c", 0, b"too late")) == "D"
    assert place.dump() == ended, "its worker has heard: it is not told for ever"


@pytest.mark.parametrize("at_once", [True, False])
async def test_who_waits_is_told(place: Place, clock: Clock, *, at_once: bool) -> None:
    enqueue(place, new_job("queued"), new_job("delayed", due="+9", lane="mail:1"))
    queued, running = deliver(place, new_job("running"))
    settle(place, outcome(queued, "n", "+0"))
    place.run(scripts.wait(place.prefix, client="c1", job_ids=["queued", "delayed", "running"]))
    async with listening(place, "r:c1") as heard:
        assert revoke(place, "queued", "delayed", "running", at_once=at_once) == [True] * 3
        settle(place, outcome(running, "c", 0, b"R"))
        await eventually(lambda: len(heard) == 3)
    assert [scripts.parse_news(each) for each in heard] == [
        (name, ("x", b"revoked")) for name in ("queued", "delayed", "running")
    ]
    assert all("waiters" not in job for name, job in place.dump().items() if name[:2] == "j:")


@pytest.mark.parametrize("op", ["c", "f"])
@pytest.mark.parametrize("at_once", [True, False])
def test_a_job_that_has_ended_or_that_nobody_knows_is_not_touched(
    place: Place, clock: Clock, op: str, *, at_once: bool
) -> None:
    [delivery] = deliver(place, new_job("a"))
    settle(place, outcome(delivery, op, HOUR, b"value" * 99))
    before, left = place.dump(), place.expiring()
    assert revoke(place, "a", "nobody", at_once=at_once, keep_ms=9 * HOUR) == [False, False]
    assert place.dump() == before
    assert {name: ms <= left[name] for name, ms in place.expiring().items()} == dict.fromkeys(
        left, True
    )


@pytest.mark.parametrize("at_once", [True, False])
def test_a_revoke_may_be_sent_again(place: Place, clock: Clock, *, at_once: bool) -> None:
    enqueue(place, new_job("queued"))
    deliver(place, new_job("running", lane="mail:9"))
    enqueue(place, new_job("delayed", due="+9"))
    names = ["queued", "running", "delayed"]
    assert revoke(place, *names, at_once=at_once, keep_ms=HOUR) == [True] * 3
    before = place.dump()
    clock.advance(5)
    again = revoke(place, *names, at_once=at_once, keep_ms=2 * HOUR)
    assert again == ([False] * 3 if at_once else [True, True, False])
    assert place.dump() == before


def test_one_that_was_asked_to_end_may_then_be_ended_at_once(place: Place, clock: Clock) -> None:
    [delivery] = deliver(place, new_job("a"))
    assert revoke(place, "a") == [True]
    assert revoke(place, "a", at_once=True) == [True]
    assert place.dump()["j:a"]["state"] == "revoked"
    assert settle(place, outcome(delivery, "c", 0)) == "D"
    assert "cx:w1" not in place.dump()


def test_orders_go_with_the_worker(place: Place, clock: Clock) -> None:
    deliver(place, new_job("a"), new_job("b"))
    revoke(place, "a")
    revoke(place, "b", at_once=True)
    reap(place, "w1")
    assert set(place.dump()) == {"j:a", "j:b"}


def test_many_are_revoked_in_one_call(place: Place, clock: Clock) -> None:
    names = [f"{n:03}" for n in range(250)]
    enqueue(place, *(new_job(name, lane=f"{name[2]}:5") for name in names))
    assert revoke(place, *names) == [True] * 250
    assert set(place.dump()) == {f"j:{name}" for name in names}


def test_a_revoke_of_the_first_try_leaves_a_later_job_of_the_same_id_alone(
    place: Place, clock: Clock
) -> None:
    """The flag is in the record, and an order names one delivery: neither can hit a successor."""
    register(place)
    [first] = deliver(place, new_job("a", nonce="n1"))
    revoke(place, "a")
    settle(place, outcome(first, "n", "+0"))
    place.admin("DEL", f"{place.prefix}j:a")  # as after its time
    [second] = deliver(place, new_job("a", nonce="n2"))
    assert beat(place).revokes == []
    assert settle(place, outcome(second, "c", HOUR, b"R")) == "K"
    assert without(place.dump(), "t", "w:w1", "sv:default")["j:a"]["state"] == "completed"
