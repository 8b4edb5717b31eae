"""wait.lua: ask for the ends of jobs, and to be told of those still to come."""

import pytest

from aioq.broker import scripts
from aioq.broker.scripts import End
from tests.broker.calls import deliver, enqueue, fetch, outcome, settle
from tests.broker.clock import Clock
from tests.broker.place import Place, new_job

pytestmark = pytest.mark.broker

RUNS_ON = End("-", b"")
UNKNOWN = End("", b"")


def wait(place: Place, *job_ids: str, client: str = "") -> list[End]:
    return place.run(scripts.wait(place.prefix, client=client, job_ids=job_ids))


def test_each_job_is_answered_in_order(place: Place, clock: Clock) -> None:
    done, failed, _ = deliver(place, new_job("done"), new_job("failed"), new_job("running"))
    settle(place, outcome(done, "c", 3_600_000, b"R"), outcome(failed, "f", "", b"boom"))
    enqueue(place, new_job("queued"), new_job("later", due="+999"))
    assert wait(place, "done", "failed", "running", "queued", "later", "nobody") == [
        End("c", b"R"),
        End("f", b"boom"),
        RUNS_ON,
        RUNS_ON,
        RUNS_ON,
        UNKNOWN,
    ]


def test_only_asking_changes_nothing(place: Place, clock: Clock) -> None:
    enqueue(place, new_job("a"))
    before = place.dump()
    wait(place, "a", "nobody")
    assert place.dump() == before


def test_clients_that_wait_are_noted_once_each(place: Place, clock: Clock) -> None:
    enqueue(place, new_job("a"))
    for client in ("c1", "c2", "c1", "c", "c2"):
        assert wait(place, "a", client=client) == [RUNS_ON]
    assert place.dump()["j:a"]["waiters"] == "c1 c2 c"


def test_a_large_value_is_read_from_its_own_key_and_none_means_expired(
    place: Place, clock: Clock
) -> None:
    [delivery] = deliver(place, new_job("a"))
    settle(place, outcome(delivery, "c", 3_600_000, b"R" * 9000))
    assert wait(place, "a") == [End("c", b"R" * 9000)]
    place.admin("DEL", f"{place.prefix}v:a")
    assert wait(place, "a") == [End("c", None)]


def test_a_result_of_no_bytes_is_a_result(place: Place, clock: Clock) -> None:
    [delivery] = deliver(place, new_job("a"))
    settle(place, outcome(delivery, "c", 3_600_000, b""))
    assert wait(place, "a") == [End("c", b"")]


def test_a_job_that_expired_says_so(place: Place, clock: Clock) -> None:
    deliver(place, new_job("a", expires="+0"))
    assert wait(place, "a") == [End("x", b"expired")]


@pytest.mark.parametrize("keep_ms", [0, 5_000, 3_600_000])
def test_a_retried_job_that_expired_does_not_show_its_old_error_as_its_end(
    place: Place, clock: Clock, keep_ms: int
) -> None:
    [delivery] = deliver(place, new_job("a", expires="+1000"))
    settle(place, outcome(delivery, "r", "+5000", b"boom"))
    clock.advance(5000)
    fetch(place, keep_ms=keep_ms)
    [end] = wait(place, "a")
    assert end.state == "x"
    assert end.value != b"boom"
    assert place.dump().get("v:a") != b"boom", "the old error is kept for a week, for nobody"
