"""beat.lua: keep a worker alive."""

import pytest

from aioq.broker import scripts
from tests.broker.clock import Clock
from tests.broker.place import START, Place

pytestmark = pytest.mark.broker


def beat(place: Place, *, register: int = 0, worker: str = "w1", presence: bytes = b"{}") -> bool:
    return place.run(
        scripts.beat(
            place.prefix,
            worker=worker,
            lease_ms=30_000,
            register=register,
            presence=presence,
            queues=["default", "mail"],
        )
    )


def test_registering_gives_a_lease_a_presence_and_the_word_that_queues_are_served(
    place: Place, clock: Clock
) -> None:
    assert beat(place, register=1)
    assert place.dump() == {
        "lw": {"w1": START + 30_000},
        "w:w1": b"{}",
        "sv:default": b"",
        "sv:mail": b"",
    }
    left = place.expiring()
    assert 290_000 < left["w:w1"] <= 300_000
    assert 50_000 < left["sv:default"] <= 60_000


def test_a_beat_renews_the_lease_from_now_on(place: Place, clock: Clock) -> None:
    beat(place, register=1)
    clock.advance(10_000)
    assert beat(place, presence=b"new")
    dump = place.dump()
    assert (dump["lw"], dump["w:w1"]) == ({"w1": START + 40_000}, b"new")


def test_a_lease_that_has_run_out_is_renewed_while_nobody_has_reaped_it(
    place: Place, clock: Clock
) -> None:
    beat(place, register=1)
    clock.advance(900_000)
    assert beat(place)
    assert place.dump()["lw"] == {"w1": START + 930_000}


def test_a_lease_that_was_reaped_does_not_come_back(place: Place, clock: Clock) -> None:
    beat(place, register=1)
    place.admin("ZREM", place.keys.leases, "w1")
    before = place.dump()
    assert not beat(place)
    assert place.dump() == before


def test_a_beat_and_a_registration_may_be_sent_again(place: Place, clock: Clock) -> None:
    beat(place, register=1)
    before = place.dump()
    assert beat(place, register=1)
    assert beat(place)
    assert place.dump() == before
