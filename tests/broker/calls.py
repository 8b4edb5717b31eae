"""The three calls of a job's life, as short as tests need them."""

from collections.abc import Sequence

from aioq.broker import scripts
from aioq.broker.scripts import (
    Beaten,
    Delivery,
    Enqueued,
    Fetched,
    Limit,
    NewJob,
    Reaped,
    Settlement,
)
from tests.broker.place import Place

DEAD_MS = 7 * 24 * 3_600_000
"""How long dead letters are kept."""


def enqueue(place: Place, *jobs: NewJob, ask: bool = True) -> Enqueued:
    return place.run(scripts.enqueue(place.prefix, count=len(jobs), ask=ask, jobs=jobs))


def fetch(
    place: Place,
    *,
    worker: str = "w1",
    epoch: int = 0,
    room: int = 250,
    keep_ms: int = 3_600_000,
    lanes: Sequence[str] = ("default:5",),
) -> Fetched:
    return place.run(
        scripts.fetch(
            place.prefix, worker=worker, epoch=epoch, room=room, keep_ms=keep_ms, lanes=lanes
        )
    )


def deliver(place: Place, *jobs: NewJob, worker: str = "w1") -> list[Delivery]:
    """Enqueue jobs, and fetch them with whatever else is ready in their lanes."""
    place.lease(worker)
    if jobs:
        enqueue(place, *jobs)
    lanes = sorted({"default:5", *(job.lane.partition(" ")[0] for job in jobs)})
    return fetch(place, worker=worker, lanes=lanes).deliveries


def crash(place: Place, *jobs: NewJob, worker: str = "w1", times: int = 1) -> None:
    """Let the worker of some jobs die, again and again, each time when they are due."""
    for _ in range(times):
        deliver(place, *jobs, worker=worker)
        reap(place, worker)


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


def register(
    place: Place, worker: str = "w1", *, lease_ms: int = 30_000, limits: Sequence[Limit] = ()
) -> None:
    place.run(scripts.register(place.prefix, worker=worker, lease_ms=lease_ms, limits=limits))


def beat(
    place: Place,
    worker: str = "w1",
    *,
    lease_ms: int = 30_000,
    presence: bytes = b"{}",
    queues: Sequence[str] = ("default",),
) -> Beaten:
    call = scripts.beat(
        place.prefix, worker=worker, lease_ms=lease_ms, presence=presence, queues=queues
    )
    return place.run(call)


def reap(
    place: Place,
    worker: str = "",
    *,
    is_crash: bool = True,
    lease_ms: int = 30_000,
    most: int = 250,
    dead_max: int = 10_000,
) -> Reaped:
    return place.run(
        scripts.reap(
            place.prefix,
            worker=worker,
            is_crash=is_crash,
            lease_ms=lease_ms,
            most=most,
            dead_ms=DEAD_MS,
            dead_max=dead_max,
        )
    )


def recover(
    place: Place, worker: str = "w1", *, epoch: int = 1, most: int = 250, known: Sequence[Delivery]
) -> int:
    names = map(scripts.name_of, known)
    call = scripts.recover(place.prefix, worker=worker, epoch=epoch, most=most, known=names)
    return place.run(call)


def revoke(place: Place, *job_ids: str, at_once: bool = False, keep_ms: int = 0) -> list[bool]:
    call = scripts.revoke(place.prefix, at_once=at_once, keep_ms=keep_ms, job_ids=job_ids)
    return [bool(flag & 1) for flag in place.run(call)]
