"""The bare loop: the shortest honest Redis Streams queue, the yardstick of every budget.

Honest: jobs name a task and carry arguments, failures are kept, a job is acknowledged after it
ran, results are stored and expire, SIGTERM loses nothing.  It has no guarantee beyond that: no
retry, no takeover from a dead worker, no fencing, no delays, no job record.

Round trip: the settle script publishes each result that somebody waits for on the channel of its
producer, which holds one subscription.  That costs one message fewer than a reply list read by
BLPOP, and serves any number of waiters over one connection, as aioq does.
"""

# ruff: noqa: D102 - what each method does is said once, in Contestant
import asyncio
import signal
import uuid
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError

from benchmarks.contestants.contestant import Contestant, main, run
from benchmarks.tasks import TASKS

_STREAM, _GROUP, _CONSUMER = "jobs", "workers", "worker"
_SETTLE = (Path(__file__).parent / "lua" / "settle.lua").read_text()
_RESULT_MS = 3_600_000
# Enough to hide the round trip; larger pipelines were not faster.
_PIPELINE = 500


class _Job(msgspec.Struct, array_like=True):
    task: str
    args: tuple[Any, ...]
    channel: str = ""


_encode = msgspec.msgpack.Encoder().encode
_decode_job = msgspec.msgpack.Decoder(_Job).decode
_decode_result = msgspec.msgpack.Decoder().decode


def _connect(url: str) -> Redis:
    """Open one connection: no pool, no retry, no timeout, as the blocking read needs."""
    return Redis.from_url(
        url, single_connection_client=True, retry=Retry(NoBackoff(), 0), socket_timeout=None
    )


class Consumer:
    """Fetch while there is room, run each job as a task, settle whatever finished meanwhile."""

    def __init__(self, url: str, concurrency: int) -> None:
        # A blocking read occupies its connection.
        self._reader = _connect(url)
        self._writer = _connect(url)
        self._settle_script = self._writer.register_script(_SETTLE)
        self._concurrency = concurrency
        self._running: set[asyncio.Task[None]] = set()
        self._finished: list[bytes | str] = []
        self._has_room = asyncio.Event()
        self._has_finished = asyncio.Event()
        self._stopping = self._drained = False

    async def run(self) -> None:
        """Work until SIGTERM, then let what runs end."""
        try:
            await self._writer.xgroup_create(_STREAM, _GROUP, "0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
        reader_id = await self._reader.client_id()
        asyncio.get_running_loop().add_signal_handler(
            signal.SIGTERM, lambda: asyncio.ensure_future(self._stop(reader_id))
        )
        settling = asyncio.create_task(self._settle_until_drained())
        await self._fetch_until_stopped()
        await asyncio.gather(*self._running)
        self._drained = True
        self._has_finished.set()
        await settling

    async def _stop(self, reader_id: int) -> None:
        self._stopping = True
        # Cancelling the read instead could lose the jobs of a reply on its way.
        await self._writer.client_unblock(reader_id)

    async def _fetch_until_stopped(self) -> None:
        while not self._stopping:
            room = self._concurrency - len(self._running)
            if room == 0:
                self._has_room.clear()
                await self._has_room.wait()
                continue
            reply: Any = await self._reader.xreadgroup(
                _GROUP, _CONSUMER, {_STREAM: ">"}, count=room, block=0
            )
            if not reply:
                continue
            for entry_id, fields in reply[0][1]:
                running = asyncio.create_task(self._run_job(entry_id, fields[b"job"]))
                self._running.add(running)
                running.add_done_callback(self._release)

    async def _run_job(self, entry_id: bytes, payload: bytes) -> None:
        job = _decode_job(payload)
        try:
            result: object = await TASKS[job.task](*job.args)
        except Exception as error:  # noqa: BLE001 - jobs fail in any way; the loop goes on
            result = repr(error)
        self._finished += (entry_id, _encode(result), job.channel)
        self._has_finished.set()

    def _release(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._has_room.set()

    async def _settle_until_drained(self) -> None:
        while self._finished or not self._drained:
            await self._has_finished.wait()
            self._has_finished.clear()
            batch, self._finished = self._finished, []
            if batch:
                await self._settle_script(keys=[_STREAM], args=[_GROUP, _RESULT_MS, *batch])


class Bare(Contestant):
    """The producer's side, and the way into the consumer."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._redis = _connect(url)
        self._channel = f"replies:{uuid.uuid4().hex}"
        self._results: dict[bytes, asyncio.Future[int]] = {}
        self._listening: asyncio.Task[None] | None = None

    def work(self, concurrency: int) -> None:
        run(self._work(concurrency))

    async def _work(self, concurrency: int) -> None:
        await Consumer(self.url, concurrency).run()

    async def enqueue(self, index: int) -> None:
        await self._redis.xadd(_STREAM, {b"job": _encode(_Job("noop", (index,)))})

    async def enqueue_many(self, indexes: range) -> None:
        await self.enqueue_calls("noop", [(index,) for index in indexes])

    async def enqueue_calls(self, task: str, calls: Sequence[tuple[Any, ...]]) -> None:
        for start in range(0, len(calls), _PIPELINE):
            pipeline = self._redis.pipeline(transaction=False)
            for args in calls[start : start + _PIPELINE]:
                pipeline.xadd(_STREAM, {b"job": _encode(_Job(task, args))})
            await pipeline.execute()

    async def round_trip(self, index: int) -> object:
        return await (await self.submit(index))

    async def submit(self, index: int) -> Awaitable[int]:
        if self._listening is None:
            replies = _connect(self.url).pubsub()
            await replies.subscribe(self._channel)
            self._listening = asyncio.create_task(self._listen(replies))
        job = _Job("noop", (index,), self._channel)
        return self._result_of(await self._redis.xadd(_STREAM, {b"job": _encode(job)}))

    async def _listen(self, replies: PubSub) -> None:
        async for message in replies.listen():
            if message["type"] == "message":
                entry_id, result = message["data"].split(b" ", 1)
                self._result_of(entry_id).set_result(_decode_result(result))

    def _result_of(self, entry_id: bytes) -> asyncio.Future[int]:
        """Return the future of a job, made by whichever comes first: its id, or its result."""
        known = self._results.pop(entry_id, None)
        if known is None:
            known = self._results[entry_id] = asyncio.get_running_loop().create_future()
        return known


if __name__ == "__main__":
    main(Bare)
