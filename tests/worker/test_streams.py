"""Tasks that stream: in order, in time, under every fault, and with their limits like any other."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import pytest

from aioq import (
    CONTEXT,
    Aioq,
    ConfigurationError,
    Context,
    Job,
    JobState,
    Revoked,
    Settings,
    SoftTimeLimitExceeded,
    StreamRestarted,
    TaskFailed,
)
from aioq.embedded import PrivateServer
from aioq.testing import running
from aioq.worker.streaming import ROOM, ROOM_BYTES, Outbox
from tests.broker.place import Admin
from tests.eventually import eventually

app = Aioq(settings=Settings(lease=1, grace=0.1, max_payload=10_000))
hold: asyncio.Event
yielded: list[int] = []
seen: list[str] = []


@pytest.fixture(autouse=True)
async def nobody_is_let_go() -> None:
    global hold
    hold = asyncio.Event()
    yielded.clear()
    seen.clear()


@app.task
async def count(n: int) -> AsyncIterator[int]:
    for number in range(n):
        yielded.append(number)
        yield number


@app.task
async def held(n: int) -> AsyncGenerator[int, None]:
    try:
        for number in range(n):
            yield number
        await hold.wait()
        yield n
    finally:
        seen.append("closed")


@app.task(autoretry_for=(ConnectionError,), default_retry_delay=0, max_retries=1)
async def flaky(ctx: Context = CONTEXT) -> AsyncIterator[str]:
    yield f"run {ctx.request.retries}"
    if ctx.request.retries == 0:
        raise ConnectionError("once")


@app.task(autoretry_for=(ConnectionError,), default_retry_delay=0, max_retries=1)
async def silent_at_last(ctx: Context = CONTEXT) -> AsyncIterator[str]:
    if ctx.request.retries == 0:
        yield "first"
        raise ConnectionError("once")


@app.task(time_limit=0.2)
async def endless() -> AsyncIterator[int]:
    yield 1
    await asyncio.Event().wait()


@app.task(soft_time_limit=0.2)
async def cleaning_up() -> AsyncIterator[str]:
    yield "before"
    try:
        await asyncio.Event().wait()
    except SoftTimeLimitExceeded:
        yield "after"


@app.task
async def unserialisable() -> AsyncIterator[object]:
    yield "fine"
    yield object()


@app.task
async def too_large() -> AsyncIterator[str]:
    yield "fine"
    try:
        yield "x" * 20_000
    except Exception as error:
        seen.append(str(error))
        raise


@app.task(bind=True)
async def bound(self: Context, word: str) -> AsyncIterator[str]:
    yield f"{word} {self.job_id}"


@app.task
async def stubborn() -> AsyncIterator[int]:
    with suppress(asyncio.CancelledError):
        yield 1
        await asyncio.Event().wait()
    yield 2


async def read(job: Job[Any]) -> list[Any]:
    async with asyncio.timeout(20):
        return [item async for item in job.stream()]


async def test_items_arrive_while_the_task_runs() -> None:
    async with running(app):
        job = await held.enqueue(3)
        stream = job.stream()
        assert [await anext(stream) for _ in range(3)] == [0, 1, 2]
        assert await job.status() is JobState.STARTED
        hold.set()
        assert [item async for item in stream] == [3]
        assert await job.result(timeout=10) is None
    assert seen == ["closed"]


@pytest.mark.parametrize("n", [0, 1, 99, 100, 101, 1234])
async def test_every_item_arrives_once_and_in_order(n: int) -> None:
    async with running(app):
        job = await count.enqueue(n)
        assert await read(job) == list(range(n))
        assert await job.result(timeout=10) is None


async def test_several_readers_get_the_same() -> None:
    async with running(app):
        job = await count.enqueue(500)
        assert await asyncio.gather(*(read(job) for _ in range(5))) == [list(range(500))] * 5


async def test_a_job_known_by_its_id_alone_is_read_too() -> None:
    async with running(app):
        job = await bound.enqueue("hello")
        assert await read(app.job(job.id)) == [f"hello {job.id}"]
        assert await read(bound.job(job.id)) == [f"hello {job.id}"]
        assert await read(await bound.s("by").enqueue()) == [f"by {await newest()}"]


async def newest() -> str:
    records = [key async for key in _records()]
    return max(records)


async def _records() -> AsyncIterator[str]:
    keys = await app.client.broker().command("KEYS", f"{app.client.keys.prefix}j:*")
    for key in keys:
        yield key.decode().rpartition("j:")[2]


async def test_a_retry_is_a_new_generation() -> None:
    async with running(app):
        stream = (await flaky.enqueue()).stream()
        got: list[str] = []
        while True:
            try:
                async with asyncio.timeout(20):
                    async for item in stream:
                        got.append(item)  # noqa: PERF401 - what came before an error counts
                break
            except StreamRestarted as restarted:
                got.append(f"generation {restarted.generation}")
        # One that comes late, for the machine is busy, begins with the second.
        assert got in (["run 0", "generation 2", "run 1"], ["run 1"])


async def test_a_run_that_streams_nothing_replaces_the_one_before() -> None:
    async with running(app):
        job = await silent_at_last.enqueue()
        await job.result(timeout=10)
        assert await read(job) == []
        with pytest.raises(StreamRestarted):
            await anext(job.stream(after="1-1"))


async def test_a_time_limit_ends_the_stream_after_its_items() -> None:
    async with running(app):
        stream = (await endless.enqueue()).stream()
        assert await anext(stream) == 1
        with pytest.raises(TaskFailed, match="ran longer than its time_limit"):
            await anext(stream)


async def test_a_soft_time_limit_is_raised_where_the_generator_waits() -> None:
    async with running(app):
        assert await read(await cleaning_up.enqueue()) == ["before", "after"]


async def test_an_item_that_cannot_be_serialised_is_an_error_at_its_yield() -> None:
    async with running(app):
        stream = (await unserialisable.enqueue()).stream()
        assert await anext(stream) == "fine"
        with pytest.raises(TaskFailed, match="yielded a value of type object") as caught:
            await anext(stream)
        assert "yield object()" in caught.value.traceback


async def test_an_item_that_is_too_large_is_an_error_at_its_yield() -> None:
    async with running(app):
        stream = (await too_large.enqueue()).stream()
        assert await anext(stream) == "fine"
        with pytest.raises(TaskFailed, match=r"takes 20,003 bytes.*max_payload=10,000"):
            await anext(stream)
    assert "yield smaller parts" in seen[0]


async def test_a_revoke_ends_the_stream() -> None:
    async with running(app):
        job = await held.enqueue(2)
        stream = job.stream()
        assert [await anext(stream), await anext(stream)] == [0, 1]
        await job.revoke()
        with pytest.raises(Revoked):
            await anext(stream)
        await eventually(lambda: seen == ["closed"])


async def test_a_revoke_that_terminates_ends_it_at_once() -> None:
    async with running(app) as worker:
        job = await stubborn.enqueue()
        stream = job.stream()
        assert await anext(stream) == 1
        await job.revoke(terminate=True)
        with pytest.raises(Revoked):
            await anext(stream)
        await eventually(lambda: worker.running == 0)
        assert await job.status() is JobState.REVOKED


async def test_a_generator_that_was_taken_over_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    async with running(app):
        job = await held.enqueue(1)
        assert await anext(job.stream()) == 0
        record = f"{app.client.keys.prefix}j:{job.id}"
        broker = app.client.broker()
        token = await broker.command("HGET", record, "i")
        await broker.command("HSET", record, "i", "9-9")  # as a reaper that gave it to another
        hold.set()
        await eventually(lambda: seen == ["closed"])
        await broker.command("HSET", record, "i", token)
        assert "it was taken over, or ended" in caplog.text


async def test_the_producer_waits_for_the_server() -> None:
    """Whatever the server is slow to take is not piled up in the worker."""
    with PrivateServer() as server:
        async with running(app, url=server.url):
            job = await count.enqueue(100_000)
            await eventually(lambda: len(yielded) > 1000)
            server.pause()
            looks: list[int] = [-1]

            def stands_still() -> bool:
                looks.append(len(yielded))
                return looks[-1] == looks[-2]

            try:
                await eventually(stands_still)
                assert len(yielded) < 100_000
            finally:
                server.resume()
            await job.result(timeout=30)
            assert len(yielded) == 100_000


async def test_only_so_many_items_wait_for_the_server() -> None:
    calls: list[int] = []

    async def emit(generation: int, first: int, items: Sequence[bytes]) -> int:
        calls.append(len(items))
        await hold.wait()
        return generation or 7

    outbox = Outbox(emit)
    for _ in range(ROOM):
        await outbox.put(b"x")
    putting = asyncio.ensure_future(outbox.put(b"x"))
    for _ in range(100):
        await asyncio.sleep(0)
    assert not putting.done(), "the first is on its way, and the others fill the room"
    hold.set()
    await putting
    await outbox.finish()
    assert calls == [1, ROOM]


async def test_large_items_take_the_room_of_many() -> None:
    async def emit(generation: int, first: int, items: Sequence[bytes]) -> int:
        await hold.wait()
        return 1

    outbox = Outbox(emit)
    await outbox.put(b"x")
    putting = asyncio.ensure_future(outbox.put(b"x" * ROOM_BYTES))
    for _ in range(100):
        await asyncio.sleep(0)
    assert not putting.done()
    hold.set()
    await putting
    await outbox.finish()


async def test_the_producer_never_waits_for_a_reader() -> None:
    async with running(app):
        job = await count.enqueue(20_000)
        stream = job.stream()
        await anext(stream)
        assert await job.result(timeout=30) is None


async def test_a_stream_lives_through_a_restart_of_the_server() -> None:
    with PrivateServer(appendonly=True) as server:
        async with running(app, url=server.url) as worker:
            job = await held.enqueue(3)
            stream = job.stream()
            assert [await anext(stream) for _ in range(3)] == [0, 1, 2]
            reading = asyncio.ensure_future(anext(stream))
            server.kill()
            hold.set()
            await asyncio.to_thread(server.restart)
            async with asyncio.timeout(30):
                assert await reading == 3
                assert [item async for item in stream] == []
            await eventually(lambda: worker.running == 0)


TASKS = """
import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from aioq import CONTEXT, Aioq, Context, Settings

app = Aioq(settings=Settings(lease=1))


@app.task
async def talk(ctx: Context = CONTEXT) -> AsyncIterator[str]:
    for number in range(3):
        yield f"{ctx.request.deliveries}: {number}"
    if ctx.request.deliveries == 1:
        await asyncio.Event().wait()
"""


async def test_a_killed_worker_is_followed_by_a_new_generation(tmp_path: Path) -> None:
    (tmp_path / "talking.py").write_text(TASKS, "utf-8")
    command = [sys.executable, "-m", "aioq", "worker", "talking:app"]

    def start(url: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*command, "--url", url], cwd=tmp_path, stderr=subprocess.DEVNULL)

    with PrivateServer() as server:
        client = Aioq(server.url)
        first = start(server.url)
        job = await client.send_task("talking.talk")
        stream = job.stream()
        async with asyncio.timeout(40):
            assert [await anext(stream) for _ in range(3)] == ["1: 0", "1: 1", "1: 2"]
            first.kill()
            second = start(server.url)
            with pytest.raises(StreamRestarted) as caught:
                await anext(stream)
            assert caught.value.generation == 2
            assert [item async for item in stream] == ["2: 0", "2: 1", "2: 2"]
        assert (await job.info()).crashes == 1
        second.terminate()
        await asyncio.to_thread(second.wait, 20)
        first.wait()
        await client.aclose()


async def test_a_hundred_readers_take_one_connection_more() -> None:
    with PrivateServer() as server:
        async with running(app, url=server.url):
            job = await held.enqueue(10)
            admin = Admin(server.url)
            client = Aioq(server.url)
            await client.job(job.id).status()
            before = len(admin.others())
            streams = [client.job(job.id).stream() for _ in range(100)]
            for each in streams:
                assert [await anext(each) for _ in range(10)] == list(range(10))
            ends = [asyncio.ensure_future(anext(each)) for each in streams]
            assert len(admin.others()) == before + 1
            hold.set()
            assert await asyncio.gather(*ends) == [10] * 100
            await client.aclose()
            admin.close()


@pytest.mark.parametrize("executor", ["process", "thread"])
def test_a_generator_runs_in_the_loop_alone(executor: Literal["process", "thread"]) -> None:
    with pytest.raises(ConfigurationError, match="async generator, which runs in the event loop"):
        app.task(name="elsewhere", executor=executor)(count.function)


@pytest.mark.parametrize("way", ["map", "starmap", "chunks"])
def test_one_job_has_one_stream(way: str) -> None:
    arguments = ([(1,)], 10) if way == "chunks" else ([(1,)],)
    with pytest.raises(ConfigurationError, match=r"use count\.enqueue_many"):
        getattr(count, way)(*arguments)


def test_a_plain_generator_is_refused() -> None:
    def plain() -> Iterator[int]:
        yield 1

    with pytest.raises(ConfigurationError, match="an async def with yield"):
        app.task(plain)
