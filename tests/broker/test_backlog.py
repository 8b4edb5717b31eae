"""backlog.lua: count what is left to do."""

import pytest

from aioq.broker import scripts
from tests.broker.calls import deliver, enqueue, outcome, settle
from tests.broker.clock import Clock
from tests.broker.place import Place, new_job

pytestmark = pytest.mark.broker


def backlog(place: Place, *lanes: str) -> int:
    return place.run(scripts.backlog(place.prefix, lanes=lanes))


def test_jobs_count_until_a_worker_has_them(place: Place, clock: Clock) -> None:
    assert backlog(place, "default:5", "mail:9") == 0
    enqueue(place, new_job("a"), new_job("b", lane="mail:9"), new_job("c", lane="other:5"))
    assert backlog(place, "default:5", "mail:9") == 2
    [delivery] = deliver(place)
    enqueue(place, new_job("d"))
    assert backlog(place, "default:5", "mail:9") == 2
    settle(place, outcome(delivery, "n", "+0"))
    assert backlog(place, "default:5", "mail:9") == 3


def test_a_delayed_job_counts_from_the_moment_it_is_due(place: Place, clock: Clock) -> None:
    enqueue(place, new_job("a", due="+1000"))
    clock.advance(999)
    assert backlog(place, "default:5") == 0
    clock.advance(1)
    assert backlog(place, "default:5") == 1


def test_a_delayed_job_of_another_queue_does_not_count(place: Place, clock: Clock) -> None:
    """Somebody else promotes it, and who serves its queue may be away."""
    enqueue(place, new_job("a", due="+1000", lane="mail:5"))
    clock.advance(1000)
    assert backlog(place, "default:5") == 0
    assert backlog(place, "default:5", "mail:0") == 1
