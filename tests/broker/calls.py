"""The three calls of a job's life, as short as tests need them."""

from collections.abc import Sequence

from aioq.broker import scripts
from aioq.broker.scripts import Delivery, Enqueued, Fetched, NewJob, Settlement
from tests.broker.place import Place

DEAD_MS = 7 * 24 * 3_600_000
"""How long dead letters are kept."""


def enqueue(place: Place, *jobs: NewJob, ask: bool = True) -> Enqueued:
    return place.run(scripts.enqueue(place.prefix, count=len(jobs), ask=ask, jobs=jobs))


def fetch(
    place: Place,
    *,
    worker: str = "w1",
    room: int = 250,
    keep_ms: int = 3_600_000,
    lanes: Sequence[str] = ("default:5",),
) -> Fetched:
    call = scripts.fetch(place.prefix, worker=worker, room=room, keep_ms=keep_ms, lanes=lanes)
    return place.run(call)


def deliver(place: Place, *jobs: NewJob, worker: str = "w1") -> list[Delivery]:
    """Enqueue jobs, and fetch them with whatever else is ready in their lanes."""
    place.lease(worker)
    if jobs:
        enqueue(place, *jobs)
    lanes = sorted({"default:5", *(job.lane for job in jobs)})
    return fetch(place, worker=worker, lanes=lanes).deliveries


def outcome(
    delivery: Delivery, op: str, argument: str | int = "", value: bytes = b""
) -> Settlement:
    return Settlement(delivery.job_id, delivery.entry_id, op, argument, value)


def settle(
    place: Place, *outcomes: Settlement, dead_ms: int = DEAD_MS, dead_max: int = 10_000
) -> str:
    call = scripts.settle(
        place.prefix, count=len(outcomes), dead_ms=dead_ms, dead_max=dead_max, outcomes=outcomes
    )
    return place.run(call)
