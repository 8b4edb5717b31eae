"""What a type checker must understand: checked by pyright, never run."""

from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn, assert_type

from aioq import (
    CONTEXT,
    Aioq,
    BatchContext,
    Concurrency,
    Context,
    DeadLetter,
    GroupWorkflow,
    ItemStream,
    Job,
    JobInfo,
    JobState,
    JobUpdate,
    LimitInfo,
    Occurrence,
    Progress,
    Revoked,
    ScheduleInfo,
    Settings,
    Signature,
    StreamJob,
    TaskFailed,
    TokenBucket,
    Unique,
    Workflow,
    chain,
    chord,
    crontab,
    current_job,
    every,
    group,
    task,
)

app = Aioq(settings=Settings(url="redis://localhost", lease=30, queues=("a", "b")))

# Tasks of every kind


@app.task
async def add(x: int, y: int = 0) -> int:
    return x + y


@app.task
def render(name: str, *, width: float) -> bytes:
    return name.encode()


@app.task(queue="mail", autoretry_for=(OSError,), retry_backoff=True, max_retries=None)
async def send(to: str, *rest: str, ctx: Context = CONTEXT) -> dict[str, int]:
    return {to: ctx.request.retries}


@app.task(name="other.name", expires=30)
def total(*numbers: int) -> int:
    return sum(numbers)


@app.task(bind=True)
async def pay(self: Context, order: int, currency: str = "EUR") -> str:
    return self.job_id


@app.task(bind=True, executor="process")
def crunch(self: Context, size: int) -> list[float]:
    return []


@app.task(time_limit=300, soft_time_limit=250.5, max_crashes=None, acks_late=False)
async def limited() -> bool:
    return True


@app.task(executor="process", time_limit=None, soft_time_limit=None, max_crashes=1)
def limited_in_a_process() -> None: ...


def by_user(user_id: int, **_: object) -> int:
    return user_id


@app.task(rate_limit="10/m", max_concurrency=5, fair_by=by_user)
async def paced(user_id: int) -> None: ...


@app.task(
    rate_limit=["10/s", TokenBucket(5, per=60, burst=9, key=by_user, cost=lambda: 2)],
    max_concurrency=[3, Concurrency(1, key=by_user, name="database")],
)
async def paced_in_many_ways(user_id: int) -> None: ...


@app.task(rate_limit=TokenBucket(0.5), rate_limit_name="stripe", max_concurrency=None)
async def paced_with_others(user_id: int) -> None: ...


@app.task(bind=False)
async def nothing() -> None: ...


@task
async def shared(x: int) -> str:
    return str(x)


@task(queue="q")
def shared_with_options(x: int) -> str:
    return str(x)


@task(bind=True, priority=9)
async def shared_and_bound(self: Context, x: int) -> str:
    return str(x)


def plain_calls() -> None:
    _ = assert_type(add(1, 2), Coroutine[Any, Any, int])
    _ = assert_type(add(x=1), Coroutine[Any, Any, int])
    assert_type(render("x", width=1), bytes)
    assert_type(total(1, 2, 3), int)
    _ = assert_type(pay(1), Coroutine[Any, Any, str])
    assert_type(crunch(1), list[float])
    _ = assert_type(shared(1), Coroutine[Any, Any, str])
    assert_type(shared_with_options(1), str)


async def enqueueing() -> None:
    assert_type(await add.enqueue(1, y=2), Job[int])
    assert_type(await render.enqueue("x", width=2.5), Job[bytes])
    assert_type(await send.enqueue("a", "b", "c"), Job[dict[str, int]])
    assert_type(await total.enqueue(1, 2, 3), Job[int])
    assert_type(await pay.enqueue(1, currency="CHF"), Job[str])
    assert_type(await crunch.enqueue(size=3), Job[list[float]])
    assert_type(await nothing.enqueue(), Job[None])
    assert_type(await shared.enqueue(1), Job[str])
    assert_type(await shared_with_options.enqueue(1), Job[str])
    assert_type(await shared_and_bound.enqueue(1), Job[str])
    assert_type(await add.delay(1), Job[int])
    assert_type(await add.apply_async(args=(1,), kwargs={"y": 2}, countdown=3), Job[int])
    assert_type(await add.enqueue_many([(1,), (1, 2)]), list[Job[int]])
    assert_type(await add.enqueue_many([{"x": 1}]), list[Job[int]])


async def with_options() -> None:
    later = add.options(countdown=60, priority=9, queue="q", expires=300, job_id="id")
    once = add.options(unique=Unique(key=7, for_=60, until="start", on_conflict="replace"))
    assert_type(await once.options(unique=False).enqueue(1), Job[int])
    assert_type(await later.enqueue(1), Job[int])
    assert_type(await later.options(eta=datetime(2030, 1, 1, tzinfo=UTC)).enqueue(1), Job[int])
    assert_type(await later.enqueue_many([(1,)]), list[Job[int]])
    _ = assert_type(later(1), Coroutine[Any, Any, int])
    assert_type(render.options(headers={"a": 1})("x", width=1), bytes)


def from_sync_code() -> None:
    assert_type(add.enqueue_sync(1), Job[int])
    assert_type(add.enqueue_many_sync([(1,)]), list[Job[int]])
    assert_type(add.job("id").result_sync(timeout=1), int)
    assert_type(app.send_task_sync("x"), Job[Any])


async def signatures() -> None:
    signature = add.s(1).set(countdown=3)
    assert_type(signature, Signature[int])
    assert_type(await signature.enqueue(), Job[int])
    assert_type(await signature.delay(), Job[int])
    assert_type(await signature.apply_async(queue="q"), Job[int])
    assert_type(await app.enqueue_many([signature, pay.s()]), list[Job[Any]])


async def workflows() -> None:
    steps = add.s(1) | pay.s() | total.s()
    assert_type(await steps.enqueue(), Workflow[int])
    assert_type(await (await (add.s(1) | pay.s("EUR")).delay()).result(), str)
    assert_type(await chain(add.s(1), add.s(2), render.s(width=1)).enqueue(), Workflow[bytes])
    assert_type(chain(add.s(1)), Signature[int])
    many = await group(add.s(i) for i in range(3)).set(queue="q").enqueue()
    assert_type(many, GroupWorkflow[int])
    assert_type(await many.result(), list[int])
    async for one in many:
        assert_type(one, int)
    assert_type(await many.progress(), Progress)
    mixed = await group(add.s(1), pay.s(1), on_failure="collect").apply_async(priority=3)
    assert_type(await mixed.result(), list[int | str])
    assert_type(await chord([add.s(1)], shared.s()).on_error(nothing.si()).enqueue(), Workflow[str])
    assert_type(await (await add.map([1]).enqueue()).result(), list[int])
    assert_type(await (await add.chunks([(1, 2)], 10).enqueue()).result(), list[list[int]])
    assert_type(add.si(1, y=2), Signature[int])
    graph = app.graph({"a": add.s(1), "b": group(add.s()).after("a")})
    assert_type(await (await graph.enqueue()).result(), dict[str, Any])
    assert_type((group(add.s(1)) | total.s()).enqueue_sync(), Workflow[int])


def cleaning_up(ctx: Context) -> None:
    assert_type(ctx.error, TaskFailed | Revoked | None)


async def results() -> None:
    job = add.job("id")
    assert_type(job, Job[int])
    assert_type(await job.result(timeout=5), int)
    assert_type(await job.get(), int)
    assert_type(await nothing.job("id").result(), None)
    assert_type(await job.status(), JobState)
    assert_type(await job.ready(), bool)
    assert_type(job.created, bool)
    info = await job.info()
    assert_type(info, JobInfo)
    assert_type(info.progress, Progress | None)
    assert_type(info.enqueued_at, datetime)
    assert_type(app.job("id"), Job[Any])
    assert_type(await app.send_task("x", args=(1,), countdown=3), Job[Any])


async def dead_letters() -> None:
    letters = app.dead_letters
    async for letter in letters.list(task=add, since=datetime.now(UTC)):
        assert_type(letter, DeadLetter)
        assert_type(letter.args, tuple[Any, ...] | None)
    assert_type(await letters.list(task="name", queue="mail"), list[DeadLetter])
    assert_type(await letters.replay("id"), Job[Any])
    assert_type(await letters.replay_all(), int)
    assert_type(await letters.discard("id"), bool)


async def schedules() -> None:
    app.schedule("nightly", add.s(1, 2), crontab(hour=3), missed="all", overlap="skip", jitter=5)
    app.beat_schedule = {"x": {"task": "a.b", "schedule": 30.0, "args": (16,)}}
    app.beat_schedule["y"] = {"task": add, "schedule": every(5), "kwargs": {"x": 1, "y": 2}}
    await app.schedules.add("often", add.s(1, 2), timedelta(seconds=5), missed="skip")
    async for info in app.schedules.list():
        assert_type(info, ScheduleInfo)
    assert_type(await app.schedules.next("often", 3), list[datetime])
    assert_type(await app.schedules.run_now("often"), Job[Any])
    assert_type(await app.schedules.history("often"), list[Occurrence])


async def limits() -> None:
    limiter = app.limiter("stripe", TokenBucket(100, per=60), key="a")
    async with limiter.acquire(cost=3):
        assert_type(await limiter.acquire(), None)
    assert_type(await limiter.try_acquire(), bool)
    await app.limits.set("stripe", "10/m")
    await app.limits.set("stripe", Concurrency(5))
    await app.limits.reset("stripe")
    assert_type(await app.limits.list(key=7), list[LimitInfo])


async def contexts(ctx: Context) -> None:
    assert_type(current_job(), Context)
    assert_type(ctx.request.eta, datetime | None)
    assert_type(ctx.headers, dict[str, Any])
    if ctx.cancel_reason == "time limit":
        return
    await ctx.progress(1, 2, "half", extra=3)
    await ctx.update_state(meta={"current": 1})


def never_returns(ctx: Context) -> NoReturn:
    ctx.retry(exc=ValueError(), countdown=3, max_retries=None)


def never_returns_either(ctx: Context, choice: int) -> NoReturn:
    if choice:
        ctx.snooze(3)
    ctx.reject("no")


async def errors() -> None:
    try:
        await add.job("id").result()
    except TaskFailed as error:
        assert_type(error.exc_type, str)
        assert_type(error.traceback, str)


@app.batch_task(size=10, wait=0.1, max_retries=5)
async def index(pages: list[str]) -> list[int]:
    return [len(page) for page in pages]


@app.batch_task()
async def index_or_fail(
    pages: list[str], ctx: BatchContext = CONTEXT
) -> list[int | Exception | None]:
    return [None for _ in pages]


@app.batch_task(bind=True, queue="mail")
async def index_bound(self: BatchContext, pages: list[str]) -> list[float | BaseException]:
    assert_type(self.jobs, tuple[Context, ...])
    return [ValueError() for _ in pages]


@app.batch_task(size=3)
def index_in_a_thread(pages: list[bytes]) -> tuple[bool, ...]:
    return tuple(True for _ in pages)


async def batches() -> None:
    assert_type(await index.enqueue("a"), Job[int])
    assert_type(await index.enqueue_many([("a",)]), list[Job[int]])
    assert_type(await index(["a", "b"]), list[int])
    assert_type(await (await index_or_fail.options(priority=9).enqueue("a")).result(), int | None)
    assert_type(index_bound.enqueue_sync("a"), Job[float])
    assert_type(index_in_a_thread([b"a"]), list[bool])
    assert_type(index_in_a_thread.job("id"), Job[bool])
    assert_type(index.s("a"), Signature[int])


# Tasks that stream


@app.task
async def tell(story: str, *, pace: float = 0) -> AsyncIterator[str]:
    yield story


@app.task(bind=True, queue="slow")
async def count(self: Context, n: int) -> AsyncGenerator[int, None]:
    yield n


@task
async def shared_stream() -> AsyncIterator[bytes]:
    yield b""


@task(priority=9)
async def shared_stream_with_options(n: int) -> AsyncIterator[float]:
    yield n


async def streams() -> None:
    job = await tell.enqueue("a", pace=1)
    assert_type(job, StreamJob[str])
    assert_type(job.stream(), ItemStream[str])
    async for word in job.stream(after="1-2"):
        assert_type(word, str)
    assert_type(await job.result(), None)
    assert_type(job.stream().position, str | None)
    assert_type(await count.enqueue(1), StreamJob[int])
    assert_type(count.job("id").stream(), ItemStream[int])
    assert_type(await count.options(priority=1).enqueue(1), StreamJob[int])
    assert_type(await count.enqueue_many([(1,)]), list[StreamJob[int]])
    assert_type(count.enqueue_sync(1), StreamJob[int])
    assert_type(await shared_stream.delay(), StreamJob[bytes])
    assert_type(await shared_stream_with_options.apply_async((1,)), StreamJob[float])
    assert_type(tell.s("a"), Signature[None])
    assert_type(app.job("id").stream(), ItemStream[Any])
    async for number in tell("a"):
        assert_type(number, str)


# Durable tasks, and events


def charge(amount: int) -> str:
    return str(amount)


async def refund(amount: int, *, reason: str = "") -> float:
    return -float(amount or len(reason))


@app.task
async def order(amount: int, ctx: Context = CONTEXT) -> list[int]:
    assert_type(await ctx.step("charge", charge, amount), str)
    assert_type(await ctx.step("refund", refund, amount, reason="late"), float)
    assert_type(await ctx.step("nothing", lambda: None), None)
    assert_type(await ctx.sleep(3600, name="an-hour"), None)
    assert_type(await ctx.wait_event("paid", timeout=60, name="second"), Any)
    async with ctx.group() as children:
        one = children.start(add.s(1, 2))
        words = children.start(render.s("a", width=2))
        assert_type(await ctx.wait(await words), bytes)
    assert_type(await ctx.wait(one), int)
    assert_type(await ctx.wait([words, words]), list[bytes])
    assert_type(await ctx.wait(one, words), list[Any])
    assert_type(await ctx.wait(children), list[Any])
    return await ctx.wait([one])


async def events() -> None:
    assert_type(await order.enqueue(20), Job[list[int]])
    assert_type(await app.send_event("paid", {"by": "card"}, job_id="id", keep=60), int)
    assert_type(app.send_event_sync("paid"), int)
    async for update in add.job("id").events():
        assert_type(update, JobUpdate)
        assert_type(update.progress, Progress | None)
        assert_type(update.at, datetime)
    async for update in app.events(since=datetime.now(UTC)):
        assert_type(update.state.is_final, bool)
        assert_type(update.position, str)
    app.events(since="1-0:1")
