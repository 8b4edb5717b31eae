"""look.lua: read all that is known of one job, in one moment."""

import pytest

from aioq.broker import scripts
from aioq.broker.scripts import Looked
from tests.broker.calls import deliver, enqueue, outcome, settle
from tests.broker.clock import Clock
from tests.broker.place import Place, new_job

pytestmark = pytest.mark.broker


def look(place: Place, job_id: str = "a") -> Looked:
    return place.run(scripts.look(place.prefix, job_id=job_id))


def test_a_queued_job_shows_its_record_and_its_payload(place: Place, clock: Clock) -> None:
    enqueue(place, new_job("a"))
    record, payload, value = look(place)
    assert (record["s"], record["t"]) == (b"q", b"add")
    assert record["i"] == place.token("a")
    assert (payload, value) == (b"<a>", None)


def test_the_payload_is_found_wherever_the_job_is(place: Place, clock: Clock) -> None:
    enqueue(place, new_job("a", due="+10"))
    assert look(place).payload == b"<a>"
    clock.advance(10)
    [delivery] = deliver(place)
    assert look(place).payload == b"<a>"
    settle(place, outcome(delivery, "r", "+10", b"boom"))
    assert look(place)[1:] == (b"<a>", b"boom")
    clock.advance(10)
    [delivery] = deliver(place)
    settle(place, outcome(delivery, "f", "", b"boom" * 99))
    assert look(place)[1:] == (b"<a>", b"boom" * 99)


@pytest.mark.parametrize("result", [b"R", b"R" * 99, b""])
def test_a_completed_job_shows_its_result_and_no_payload(
    place: Place, clock: Clock, result: bytes
) -> None:
    [delivery] = deliver(place, new_job("a"))
    settle(place, outcome(delivery, "c", 3_600_000, result))
    assert look(place)[1:] == (None, result)


def test_a_job_that_nobody_knows_has_no_record(place: Place, clock: Clock) -> None:
    assert look(place) == Looked({}, None, None)


def test_looking_changes_nothing(place: Place, clock: Clock) -> None:
    enqueue(place, new_job("a"))
    before = place.dump()
    look(place)
    look(place, "nobody")
    assert place.dump() == before
