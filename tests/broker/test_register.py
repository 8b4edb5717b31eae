"""register.lua: a new incarnation asks for its lease, and says what its tasks may survive."""

import pytest

from aioq.broker.scripts import Limit
from tests.broker.calls import beat, deliver, enqueue, fetch, outcome, reap, register, settle
from tests.broker.clock import Clock
from tests.broker.place import START, Place, new_job

pytestmark = pytest.mark.broker


def test_registering_gives_a_lease(place: Place, clock: Clock) -> None:
    register(place)
    assert place.dump() == {"lw": {"w1": START + 30_000}, "t": str(START).encode()}
    enqueue(place, new_job("a"))
    assert len(fetch(place).deliveries) == 1


def test_only_limits_that_are_not_the_common_one_are_kept(place: Place, clock: Clock) -> None:
    register(place, limits=[Limit("once", "0"), Limit("hard", "inf"), Limit("add", "")])
    assert place.dump()["o"] == {"once": "0", "hard": "inf"}
    register(place, "w2", limits=[Limit("once", ""), Limit("hard", "5")])
    assert place.dump()["o"] == {"hard": "5"}


def test_a_registration_may_be_sent_again(place: Place, clock: Clock) -> None:
    register(place, limits=[Limit("once", "0")])
    before = place.dump()
    register(place, limits=[Limit("once", "0")])
    assert place.dump() == before


def test_a_registration_that_comes_late_does_not_bring_back_who_is_being_reaped(
    place: Place, clock: Clock
) -> None:
    register(place)
    enqueue(place, new_job("a"), new_job("b"))
    fetch(place)
    assert reap(place, "w1", most=1).rest
    register(place)
    assert place.dump()["lw"] == {"w1": 0}
    assert not beat(place).alive
    assert fetch(place).now_us == -1


def test_limits_stay_when_the_last_worker_has_left(place: Place, clock: Clock) -> None:
    register(place, limits=[Limit("once", "0")])
    [delivery] = deliver(place, new_job("a"))
    settle(place, outcome(delivery, "c", 0))
    reap(place, "w1", is_crash=False)
    assert set(place.dump()) == {"j:a", "o", "t"}
