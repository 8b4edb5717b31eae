"""What happens to jobs, as it happens: the readers behind `job.events()` and `app.events()`.

Both read the stream of events.  Of one job the truth is its record, so a reader that may have
missed something looks there, and ends with the job whatever became of the stream.  Who reads of all
jobs is told where events are gone.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from datetime import UTC, datetime

from aioq.broker import inspect, scripts
from aioq.broker.broker import Broker
from aioq.broker.events import Entry, Feed, Follower, look_back
from aioq.core.clock import moment_ms
from aioq.core.errors import BrokerUnavailable, JobNotFound, StreamGap
from aioq.core.events import OPENED, STATES, Life, Position, Step, from_entry, update_of
from aioq.core.record import JobInfo, JobState, JobUpdate, Progress

LOOK_AGAIN = 30.0
"""Seconds after which the record of a quiet job is looked at, whatever the stream says."""
UNREAD = 1000
"""Entries that wait for a slow reader; it reads the rest from the server."""


async def of_job(broker: Broker, job_id: str) -> AsyncGenerator[JobUpdate]:
    """Tell each state of a job once, in order, until it has ended.

    Raises:
        JobNotFound: nobody knows it.
        BrokerUnavailable: the server could not be asked even once, or the app was closed.
    """
    reader, life = _JobReader(broker, job_id), Life()
    try:
        await reader.begin()
        while not life.has_ended:
            update = await reader.next()
            if update is not None and life.is_news(update.state, from_record=not update.position):
                yield update
    finally:
        reader.end()


class _JobReader:
    """One reader of one job: the steps it hears of, and its record where that may not be all."""

    def __init__(self, broker: Broker, job_id: str) -> None:
        self._broker = broker
        self._job_id = job_id
        self._follower = Follower(job_id)
        self._watching: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Listen, and only then look at what was before, so that nothing is lost in between."""
        feed, follower = self._broker.events, self._follower
        await feed.follow(follower)
        info = inspect.info_of(self._job_id, await self._broker.look(self._job_id))
        before = moment_ms(info.enqueued_at, None) - 1
        is_whole = await look_back(feed, follower, f"{before}-0")
        has_end = any(STATES[step.letter].is_final for step, _ in follower.steps)
        is_known = is_whole and feed.is_open and bool(follower.steps)
        if not is_known or (info.state.is_final and not has_end):
            follower.doubt()

    async def next(self) -> JobUpdate | None:
        """Return what comes next; None: ask again."""
        follower = self._follower
        if follower.steps:
            return await _update(self._broker, *follower.steps.popleft())
        if follower.error is not None:
            raise follower.error
        if follower.is_unsure:
            follower.is_unsure = False
            present = _present(await _look(self._broker, self._job_id))
            if self._watching is None and not self._broker.events.is_open:
                self._watching = asyncio.create_task(_watch(self._broker, follower))
            return present
        if not await follower.heard(LOOK_AGAIN):
            follower.doubt()
        return None

    def end(self) -> None:
        """Stop listening."""
        if self._watching is not None:
            self._watching.cancel()
        self._broker.events.leave(self._follower)


async def _watch(broker: Broker, follower: Follower) -> None:
    """Wait for the end of a job where no events are written, and let its record be looked at."""
    try:
        watch = await broker.waiters.watch(follower.name.decode())
        while watch.end is None:
            watch.clear()
            follower.doubt()
            await watch.heard()
        follower.doubt()
    except (BrokerUnavailable, JobNotFound) as error:
        follower.fail(error)


async def _look(broker: Broker, job_id: str) -> JobInfo:
    """Look at a record; persists for ever."""
    call = scripts.look(broker.keys.prefix, job_id=job_id)
    return inspect.info_of(job_id, await broker.persist(call, patience=None))


def _present(info: JobInfo) -> JobUpdate:
    """Return what a record says; its time, where none is noted, is that of the look."""
    progress = info.progress if info.state is JobState.PROGRESS else None
    if info.state is JobState.PENDING:
        at = info.enqueued_at
    else:
        at = info.finished_at or info.started_at or datetime.now(UTC)
    return JobUpdate(info.id, info.state, progress, at)


async def _update(broker: Broker, step: Step, at: Position) -> JobUpdate:
    """Return a step as a value; large progress is only in the record."""
    update = update_of(step, at)
    if step.letter != "p" or update.progress is not None:
        return update
    return JobUpdate(
        update.id, update.state, await _progress(broker, update.id), update.at, str(at)
    )


async def _progress(broker: Broker, job_id: str) -> Progress | None:
    try:
        return (await _look(broker, job_id)).progress
    except JobNotFound:
        return None


async def of_all(broker: Broker, since: Position | None) -> AsyncGenerator[JobUpdate]:
    """Tell all that happens to all jobs.

    Args:
        broker: the way to the server.
        since: behind which place to begin; None: with what happens from now on.

    Raises:
        StreamGap: what comes next is gone.
        BrokerUnavailable: the server could not be asked even once, or the app was closed.
    """
    reader = _Reader(broker.events, since)
    try:
        await broker.events.listen(reader)
        reader.begin()
        while True:
            while reader.steps:
                yield await _update(broker, *reader.steps.popleft())
            await reader.read_on()
    finally:
        broker.events.leave(reader)


class _Reader:
    """One reader of all events: how far it has read, and what waits for it."""

    def __init__(self, feed: Feed, since: Position | None) -> None:
        self.steps: deque[tuple[Step, Position]] = deque()
        """What it has read and not told yet."""
        self._feed = feed
        self._read = since
        self._heard: deque[Entry] = deque()
        self._is_behind = since is not None
        self._error: Exception | None = None
        self._news = asyncio.Event()

    def begin(self) -> None:
        """Begin where the stream ends, unless a place was given."""
        if self._read is None:
            self._read = self._feed.position

    def hear(self, entry: Entry) -> None:
        """Take an entry."""
        if len(self._heard) >= UNREAD:
            self.doubt()
        if not self._is_behind:
            self._heard.append(entry)
            self._news.set()

    def doubt(self) -> None:
        """Read from the server what is missing here."""
        self._heard.clear()
        self._is_behind = True
        self._news.set()

    def fail(self, error: Exception) -> None:
        """End with an error."""
        self._error = error
        self._news.set()

    async def read_on(self) -> None:
        """Read what comes next; wait for it."""
        if self._error is not None:
            raise self._error
        if self._is_behind:
            await self._catch_up()
        elif self._heard:
            self._take(self._heard.popleft())
        else:
            await self._news.wait()
            self._news.clear()

    def _take(self, entry: Entry) -> None:
        read = self._read
        if read is None or entry.at.place > read.place:
            self.steps.extend(from_entry(entry.at, entry.fields))
        elif entry.at.place == read.place and read.steps is not None:
            self.steps.extend(from_entry(entry.at, entry.fields, behind=read.steps))
        else:
            return
        self._read = entry.at

    async def _catch_up(self) -> None:
        read = self._read or self._feed.position
        entries = await self._feed.entries(read)
        if not entries or entries[0].at.place > read.place:
            await self._check_gap(read)
        for entry in entries:
            self._take(entry)
        # What was heard meanwhile was not kept here, so it is to be read too.
        if not entries or self._feed.position.place <= entries[-1].at.place:
            self._is_behind = False

    async def _check_gap(self, read: Position) -> None:
        oldest = await self._feed.oldest()
        if oldest is None or oldest.at.place <= read.place or OPENED in oldest.fields[::2]:
            return
        position = oldest.at._replace(steps=0)
        raise StreamGap("", str(position), 0)
