"""The caller's side: from a call of a task to a job on the server.

Everything that can be wrong with a call is found here, before anything is sent.
"""

import asyncio
import fnmatch
import itertools
import logging
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from aioq.broker import scripts
from aioq.broker.client import Client
from aioq.broker.enqueued import Enqueued, Existing
from aioq.broker.keys import lane
from aioq.broker.per_turn import MOST
from aioq.broker.scripts import NewJob
from aioq.core import codec, options
from aioq.core.errors import BrokerUnavailable, NotUnique, PayloadTooLarge
from aioq.core.options import Call, TaskDefinition
from aioq.core.settings import Settings
from aioq.job import Items, Job, StreamJob

log: logging.Logger = logging.getLogger("aioq.producer")

DEFAULT_PRIORITY = 5
_WARN_EVERY = 60.0


class Prepared(NamedTuple):
    """A call that was found right, encoded and ready to send."""

    job: NewJob
    convert: Callable[[Any], Any]


class _Made:
    """What has become of the calls of a batch so far."""

    def __init__(self, make: Callable[[Prepared, bool, Existing | None], Job[Any]]) -> None:
        self.jobs: list[Job[Any]] = []
        self._make = make
        self._refusal: NotUnique | None = None

    def add(self, part: Sequence[Prepared], enqueued: Enqueued) -> None:
        """Add the jobs of one call."""
        others = enqueued.existing or [None] * len(part)
        for prepared, created, existing in zip(part, enqueued.created, others, strict=True):
            try:
                self.jobs.append(self._make(prepared, created, existing))
            except NotUnique as error:
                self._refusal = self._refusal or error

    def all(self) -> list[Job[Any]]:
        """Return the jobs.

        Raises:
            NotUnique: the first call that was rejected.
        """
        if self._refusal is not None:
            self._refusal.jobs = self.jobs
            raise self._refusal
        return self.jobs


class Producer:
    """Makes jobs for one app."""

    def __init__(self, client: Client, settings: Settings) -> None:
        self.client = client
        self.settings = settings
        self._warned: dict[str, float] = {}

    def route(self, definition: TaskDefinition) -> TaskDefinition:
        """Settle queue and priority: the task's own, else its route's, else the defaults."""
        found: dict[str, Any] = {}
        for pattern in by_relevance(self.settings.task_routes, definition.name):
            route = self.settings.task_routes[pattern]
            found.update({"queue": route} if isinstance(route, str) else route)
        queue = definition.queue or found.get("queue") or self.settings.default_queue
        priority = definition.priority
        if priority is None:
            priority = found.get("priority", DEFAULT_PRIORITY)
        return msgspec.structs.replace(definition, queue=queue, priority=priority)

    def prepare(
        self,
        definition: TaskDefinition,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        call: Call,
        convert: Callable[[Any], Any],
        holds: str = "",
    ) -> Prepared:
        """Encode a call of a task whose definition is routed, with what the job needs to start.

        Args:
            definition: of the task.
            args: of the call.
            kwargs: of the call.
            call: its options.
            convert: makes what the task returns of a plain result.
            holds: of the job; before them the word for its unique key.

        Raises:
            InvalidArguments: an argument cannot be serialised.
            PayloadTooLarge: it is larger than `Settings.max_payload`.
        """
        settings = self.settings
        payload = codec.encode_payload(
            args,
            kwargs,
            call.headers,
            task=definition.name,
            compression=definition.compression,
            threshold=settings.compression_threshold,
        )
        if len(payload) > settings.max_payload:
            message = (
                f"the arguments of {definition.name} take {len(payload):,} bytes, more than "
                f"max_payload={settings.max_payload:,}; store the data elsewhere and pass its key, "
                'use compression="gzip", or raise Settings.max_payload'
            )
            raise PayloadTooLarge(message)
        if call is options.NO_OPTIONS:
            expires = definition.expires
            where = lane(definition.queue or "", definition.priority or 0)
            if holds:
                where = f"{where} {holds}"
            when = "" if expires is None else options.expires_text(expires, None)
            job = NewJob(new_job_id(), where, definition.name, "", when, "", payload)
            return Prepared(job, convert)
        queue, priority = call.queue or definition.queue, call.priority
        where = lane(queue or "", definition.priority or 0 if priority is None else priority)
        expires = definition.expires if call.expires is None else call.expires
        job = NewJob(
            job_id=call.job_id or new_job_id(),
            lane=f"{where} {holds}" if holds else where,
            task=definition.name,
            due=call.due(settings.zone),
            expires=options.expires_text(expires, settings.zone),
            nonce=os.urandom(4).hex() if call.job_id else "",
            payload=payload,
        )
        return Prepared(job, convert)

    async def send(self, prepared: Prepared) -> Job[Any]:
        """Make one job; calls of the same turn of the event loop share one round trip."""
        created, unserved, existing = await self.client.broker().enqueue(prepared.job)
        if unserved:
            self._warn_unserved(unserved)
        return self._job(prepared, created, existing)

    async def send_many(self, batch: Sequence[Prepared]) -> list[Job[Any]]:
        """Make many jobs, at most 250 per call.

        Raises:
            BrokerUnavailable: with the jobs that were made in its attribute `jobs`.
            NotUnique: the same; the other jobs of the batch were made.
        """
        broker = self.client.broker()
        made = _Made(self._job)
        for part in _parts(batch):
            try:
                enqueued = await broker.enqueue_batch([each.job for each in part])
            except BrokerUnavailable as error:
                error.jobs = made.jobs
                raise
            self._warn_unserved(enqueued.unserved)
            made.add(part, enqueued)
            await asyncio.sleep(0)  # a large batch leaves the loop to others now and then
        return made.all()

    def send_sync(self, batch: Sequence[Prepared]) -> list[Job[Any]]:
        """Make jobs from plain sync code."""
        broker = self.client.sync()
        made = _Made(self._job)
        for part in _parts(batch):
            jobs = [each.job for each in part]
            call = scripts.enqueue(broker.keys.prefix, count=len(jobs), ask=True, jobs=jobs)
            try:
                enqueued = broker.persist(call)
            except BrokerUnavailable as error:
                error.jobs = made.jobs
                raise
            self._warn_unserved(enqueued.unserved)
            made.add(part, enqueued)
        return made.all()

    def _job(
        self,
        prepared: Prepared,
        created: bool,  # noqa: FBT001 - as it is replied
        existing: Existing | None,
    ) -> Job[Any]:
        """Return the job that was made, or the one that is there in its place.

        Raises:
            NotUnique: the call asked to be rejected then.
        """
        job_id = prepared.job.job_id
        if existing is not None:
            if existing.is_refusal:
                raise NotUnique(existing.job_id, prepared.job.task)
            job_id = existing.job_id
        convert = prepared.convert
        if type(convert) is Items:
            kind = StreamJob[Any]
            return kind(job_id, self.client, convert=convert, created=created, known=True)
        return Job(job_id, self.client, convert=convert, created=created, known=True)

    def _warn_unserved(self, queues: Sequence[str]) -> None:
        """Warn that nobody will run a job now, at most once a minute per queue."""
        for queue in queues:
            now = time.monotonic()
            if now - self._warned.get(queue, -_WARN_EVERY) >= _WARN_EVERY:
                self._warned[queue] = now
                log.warning(
                    "No live worker serves the queue %r: its jobs wait until one is started "
                    "(aioq worker module:app --queues %s).",
                    queue,
                    queue,
                )


def _parts(batch: Sequence[Prepared]) -> Iterator[Sequence[Prepared]]:
    """Cut a batch into calls that are short for the server; a replacement costs it four times."""
    is_unique = bool(batch) and " u:" in batch[0].job.lane
    most = MOST * 2 // 5 if is_unique else MOST
    for start in range(0, len(batch), most):
        yield batch[start : start + most]


def by_relevance(patterns: dict[str, Any], name: str) -> list[str]:
    """Return the patterns that match a task's name, the most specific last.

    The name itself beats any glob, and a longer glob a shorter one.
    """
    matching = [each for each in patterns if fnmatch.fnmatchcase(name, each)]
    return sorted(matching, key=lambda each: (each == name, len(each)))


_ALPHABET = "-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"  # as ASCII sorts
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
_random = random.Random()  # of our own, which nobody else seeds
_count = itertools.count(_random.getrandbits(24))
_prefix: tuple[int, str] = (0, "")


def new_job_id() -> str:
    """Return a fresh id of 18 characters: 42 bits of time in ms, 42 random bits, 24 of a count.

    The random bits are drawn anew every millisecond, so two processes would need the same ones in
    the same millisecond, and the same count.  Ids made later sort later, as those of UUIDv7
    (RFC 9562) do; they are short because the server keeps one for every job, finished ones too.
    """
    global _prefix  # noqa: PLW0603 - the prefix is the same for a whole millisecond
    now_ms = time.time_ns() // 1_000_000
    made_at, prefix = _prefix
    if made_at != now_ms:
        bits = now_ms << 42 | _random.getrandbits(42)
        prefix = "".join([_PAIRS[bits >> shift & 4095] for shift in range(72, -1, -12)])
        _prefix = (now_ms, prefix)
    count = next(_count) & 0xFFFFFF
    return prefix + _PAIRS[count >> 12] + _PAIRS[count & 4095]


def _start_anew() -> None:
    """Share neither the prefix nor the random bits with the process this one was forked from."""
    global _prefix  # noqa: PLW0603 - see above
    _random.seed()
    _prefix = (0, "")


os.register_at_fork(after_in_child=_start_anew)
