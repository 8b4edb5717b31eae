"""The soft limit inside a coroutine: it arrives once, leaks nothing, and swallows no error."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

import anyio
import pytest

from aioq import Context, SoftTimeLimitExceeded
from aioq.context import Request
from aioq.worker.soft_limit import SoftLimit
from tests.eventually import eventually

Body = Callable[[], Coroutine[Any, Any, Any]]


def context() -> Context:
    request = Request(id="id", retries=0, deliveries=1, eta=None)
    return Context(request=request, task_name="body", queue="q")


class Run:
    """A coroutine behind a soft limit, and the task that awaits it."""

    def __init__(self, body: Body) -> None:
        self.context = context()
        self.task = asyncio.ensure_future(self._await(body))
        self.limit: SoftLimit

    async def _await(self, body: Body) -> object:
        task = asyncio.current_task()
        assert task is not None
        self.limit = SoftLimit(body(), task=task, context=self.context, seconds=3)
        try:
            return await self.limit
        except SoftTimeLimitExceeded as error:
            return error  # asyncio has its own idea of a task that ends with a CancelledError
        except BaseExceptionGroup as group:
            return group

    def interrupt(self) -> None:
        self.limit.interrupt()

    def cancel(self) -> None:
        """Cancel it as the worker does."""
        self.context.cancel_reason = "shutdown"
        self.task.cancel()


async def start(body: Body) -> Run:
    run = Run(body)
    for _ in range(5):
        await asyncio.sleep(0)
    return run


async def interrupted(body: Body) -> Any:  # noqa: ANN401 - what the body returns
    run = await start(body)
    run.interrupt()
    return await run.task


def exceeded(ended: object) -> bool:
    """Tell whether a run ended with the soft limit, which older task groups put into a group."""
    while isinstance(ended, BaseExceptionGroup) and len(ended.exceptions) == 1:  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
        ended = ended.exceptions[0]  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return isinstance(ended, SoftTimeLimitExceeded)


async def for_ever() -> None:
    await asyncio.get_running_loop().create_future()


seen: list[str] = []


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    seen.clear()


async def child(name: str) -> None:
    try:
        await for_ever()
    finally:
        seen.append(name)


async def test_it_is_raised_where_the_coroutine_awaits() -> None:
    ended = await interrupted(for_ever)

    assert isinstance(ended, SoftTimeLimitExceeded)
    assert str(ended) == "body ran longer than its soft_time_limit of 3 s"
    assert isinstance(ended, asyncio.CancelledError)


async def test_it_can_be_caught_to_clean_up_and_return() -> None:
    async def body() -> str:
        try:
            await for_ever()
        except SoftTimeLimitExceeded:
            await asyncio.sleep(0)
        return "cleaned up"

    run = await start(body)
    run.interrupt()

    assert await run.task == "cleaned up"
    assert run.task.cancelling() == 0


async def test_it_comes_once() -> None:
    async def body() -> list[str]:
        for _ in range(3):
            try:
                async with asyncio.timeout(0.01):
                    await for_ever()
            except SoftTimeLimitExceeded:
                seen.append("soft")
            except TimeoutError:
                seen.append("timeout")
        return seen

    assert await interrupted(body) == ["soft", "timeout", "timeout"]


async def test_after_the_end_it_does_nothing_to_whoever_comes_next() -> None:
    async def body() -> str:
        task = asyncio.current_task()
        assert task is not None
        limit = SoftLimit(asyncio.sleep(0), task=task, context=context(), seconds=3)
        await limit
        limit.interrupt()
        await asyncio.sleep(0)
        return "undisturbed"

    assert await asyncio.ensure_future(body()) == "undisturbed"


async def test_it_reaches_a_coroutine_that_only_yields() -> None:
    async def body() -> None:
        for _ in range(1000):
            await asyncio.sleep(0)

    assert exceeded(await interrupted(body))


async def in_the_body_of_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(child("a"))
        group.create_task(child("b"))
        await for_ever()


async def at_the_end_of_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(child("a"))
        group.create_task(child("b"))


async def in_the_body_of_an_anyio_group() -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(child, "a")
        group.start_soon(child, "b")
        await anyio.sleep_forever()


async def at_the_end_of_an_anyio_group() -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(child, "a")
        group.start_soon(child, "b")


async def in_nested_groups() -> None:
    async with asyncio.TaskGroup() as outer:
        outer.create_task(child("a"))
        async with anyio.create_task_group() as inner:
            inner.start_soon(child, "b")
            async with asyncio.TaskGroup():
                await for_ever()


async def in_gather() -> None:
    await asyncio.gather(child("a"), child("b"))


async def in_wait_for() -> None:
    await asyncio.wait_for(asyncio.gather(child("a"), child("b")), 60)


@pytest.mark.parametrize(
    "body",
    [
        in_the_body_of_a_group,
        at_the_end_of_a_group,
        in_the_body_of_an_anyio_group,
        at_the_end_of_an_anyio_group,
        in_nested_groups,
        in_gather,
        in_wait_for,
    ],
)
async def test_no_children_are_leaked(body: Body) -> None:
    others = asyncio.all_tasks()
    ended = await interrupted(body)

    assert exceeded(ended)
    assert sorted(seen) == ["a", "b"]
    assert asyncio.all_tasks() - others == set()


@pytest.mark.parametrize("body", [in_the_body_of_a_group, at_the_end_of_a_group])
async def test_except_star_catches_it_around_a_task_group(body: Body) -> None:
    async def around() -> str:
        try:
            await body()
        except* SoftTimeLimitExceeded:
            seen.append("caught")
        return "done"

    assert await interrupted(around) == "done"
    assert sorted(seen) == ["a", "b", "caught"]


async def test_a_timeout_inside_goes_on_to_work() -> None:
    async def body() -> str:
        try:
            async with asyncio.timeout(60):
                await for_ever()
        except SoftTimeLimitExceeded:
            try:
                async with asyncio.timeout(0.001):
                    await for_ever()
            except TimeoutError:
                return "both"
        return "neither"

    assert await interrupted(body) == "both"


def the_limit_first(run: Run, other: Callable[[], object]) -> None:
    run.interrupt()
    other()


def the_limit_last(run: Run, other: Callable[[], object]) -> None:
    other()
    run.interrupt()


both_orders = pytest.mark.parametrize("order", [the_limit_first, the_limit_last])
Order = Callable[[Run, Callable[[], object]], None]


@both_orders
async def test_a_timeout_of_the_same_moment_is_raised_too(order: Order) -> None:
    """Of two cancellations asyncio makes one error; both must arrive for what they are."""
    timeout = asyncio.timeout(None)

    async def body() -> list[str]:
        try:
            async with timeout:
                await for_ever()
        except TimeoutError:
            seen.append("timeout")
        try:
            await for_ever()
        except SoftTimeLimitExceeded:
            seen.append("soft")
        return seen

    run = await start(body)
    loop = asyncio.get_running_loop()
    # A timeout that is over is a call in the next turn of the loop.
    if order is the_limit_first:
        loop.call_soon(run.interrupt)
        timeout.reschedule(0)
    else:
        timeout.reschedule(0)
        loop.call_soon(run.interrupt)

    assert await run.task == ["timeout", "soft"]
    assert run.task.cancelling() == 0


@both_orders
async def test_a_child_that_fails_in_the_same_moment_is_not_swallowed(order: Order) -> None:
    fail: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def failing() -> None:
        await fail

    async def body() -> list[str]:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(failing())
                await for_ever()
        except* ValueError:
            seen.append("child")
        try:
            await for_ever()
        except SoftTimeLimitExceeded:
            seen.append("soft")
        return seen

    run = await start(body)
    # The child ends in the next turn of the loop, its group hears of it in the one after.
    if order is the_limit_first:
        fail.set_exception(ValueError())
        await asyncio.sleep(0)
        run.interrupt()
    else:
        fail.set_exception(ValueError())
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(run.interrupt)

    assert await run.task == ["child", "soft"]


@both_orders
async def test_an_anyio_scope_that_is_cancelled_in_the_same_moment_ends_as_cancelled(
    order: Order,
) -> None:
    scope = anyio.CancelScope()

    async def body() -> list[str]:
        with scope:
            await for_ever()
        seen.append(f"scope {scope.cancelled_caught}")
        try:
            await for_ever()
        except SoftTimeLimitExceeded:
            seen.append("soft")
        return seen

    run = await start(body)
    order(run, scope.cancel)
    ended = await run.task

    # anyio does not cancel what is being cancelled already: then the limit leaves the scope.
    if order is the_limit_first:
        assert exceeded(ended)
    else:
        assert ended == ["scope True", "soft"]
    assert run.task.cancelling() == 0


@both_orders
async def test_a_cancellation_by_the_worker_comes_first_and_alone(order: Order) -> None:
    async def body() -> None:
        try:
            await for_ever()
        except asyncio.CancelledError as error:
            seen.append(type(error).__name__)
            for _ in range(5):
                await asyncio.sleep(0)  # nothing disturbs the cleaning up
            seen.append("clean")
            raise

    run = await start(body)
    order(run, run.cancel)
    with pytest.raises(asyncio.CancelledError):
        await run.task

    assert seen == ["CancelledError", "clean"]
    assert run.task.cancelled()
    assert run.task.cancelling() == 1


async def test_a_cancellation_while_it_cleans_up_is_a_cancellation() -> None:
    async def body() -> None:
        try:
            await for_ever()
        except SoftTimeLimitExceeded:
            seen.append("soft")
            await for_ever()

    run = await start(body)
    run.interrupt()
    await eventually(lambda: seen)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run.task

    assert run.task.cancelled()


async def test_a_child_that_swallows_it_only_puts_it_off() -> None:
    """A task that is awaited bare is cancelled in the place of the one that awaits it."""

    async def swallowing() -> str:
        try:
            await for_ever()
        except asyncio.CancelledError:
            return "swallowed"
        return ""

    async def body() -> list[str]:
        seen.append(await asyncio.ensure_future(swallowing()))
        try:
            await for_ever()
        except SoftTimeLimitExceeded:
            seen.append("soft")
        return seen

    run = await start(body)
    run.interrupt()

    assert await run.task == ["swallowed", "soft"]
    assert run.task.cancelling() == 0


async def test_an_error_in_a_childs_cleaning_up_arrives_before_it() -> None:
    async def breaking() -> None:
        try:
            await for_ever()
        finally:
            raise ValueError

    async def body() -> list[str]:
        try:
            await asyncio.ensure_future(breaking())
        except ValueError:
            seen.append("child")
        try:
            await for_ever()
        except SoftTimeLimitExceeded:
            seen.append("soft")
        return seen

    assert await interrupted(body) == ["child", "soft"]


async def test_a_cancellation_that_was_never_taken_back_does_not_hide_it() -> None:
    async def body() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        await for_ever()

    run = await start(body)
    run.interrupt()

    assert exceeded(await run.task)
    assert run.task.cancelling() == 1


async def test_it_does_not_wait_for_a_shielded_future() -> None:
    inner: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def shielded() -> Awaitable[None]:
        return asyncio.shield(inner)

    async def body() -> None:
        await shielded()

    assert exceeded(await interrupted(body))
    assert not inner.cancelled()
