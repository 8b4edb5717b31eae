"""Where a job goes, and with what options: those of the call, the task, annotations, routes."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from aioq import Aioq, ConfigurationError, Job, JobState, Settings, TaskFailed
from aioq.testing import running
from aioq.worker import Worker
from tests.eventually import eventually

Annotations = dict[str, dict[str, Any]]


async def work() -> str:
    return "done"


async def fail() -> None:
    raise ValueError("no")


async def where(job: Coroutine[Any, Any, Job[Any]]) -> tuple[str, int]:
    """Make a job; return its queue and its priority."""
    info = await (await job).info()
    return info.queue, info.priority


def app_of(routes: dict[str, Any] | None = None, annotations: Annotations | None = None) -> Aioq:
    return Aioq(settings=Settings(task_routes=routes or {}, task_annotations=annotations or {}))


ROUTES = {
    "*": {"priority": 1},
    "mail.*": "mail",
    "mail.urgent.*": {"queue": "urgent", "priority": 8},
    "mail.urgent.fax": "fax",
}


@pytest.mark.parametrize(
    ("name", "queue", "priority"),
    [
        ("other", "default", 1),
        ("mail.send", "mail", 1),
        ("mail.urgent.send", "urgent", 8),
        ("mail.urgent.fax", "fax", 8),
    ],
)
async def test_the_most_specific_route_says_the_queue_and_another_may_say_the_priority(
    name: str, queue: str, priority: int
) -> None:
    app = app_of(ROUTES)
    task = app.task(name=name)(work)
    async with running(app):
        assert await where(task.enqueue()) == (queue, priority)
        assert await where(app.send_task(name)) == (queue, priority)
        assert await (await task.enqueue()).result(timeout=10) == "done"


async def test_an_option_of_the_task_beats_an_annotation_and_that_beats_a_route() -> None:
    app = app_of(
        {"*": {"queue": "route", "priority": 2}},
        {"b*": {"queue": "annotation", "priority": 7}},
    )
    routed = app.task(name="a")(work)
    annotated = app.task(name="b")(work)
    own = app.task(name="bb", queue="own", priority=0)(work)
    part = app.task(name="aa", queue="own")(work)
    async with running(app):
        assert await where(routed.enqueue()) == ("route", 2)
        assert await where(annotated.enqueue()) == ("annotation", 7)
        assert await where(own.enqueue()) == ("own", 0)
        assert await where(part.enqueue()) == ("own", 2)
        jobs = [await task.enqueue() for task in (routed, annotated, own, part)]
        assert [await job.result(timeout=10) for job in jobs] == ["done"] * 4


async def test_the_options_of_a_call_beat_all_others() -> None:
    app = app_of({"*": {"queue": "route", "priority": 2}})
    task = app.task(name="task", queue="own", priority=3)(work)
    async with running(app, queues=["call"]):
        call = task.options(queue="call", priority=0)
        assert await where(call.enqueue()) == ("call", 0)
        assert await where(task.options(priority=0).enqueue()) == ("own", 0)
        assert await where(task.s().set(queue="call").enqueue()) == ("call", 3)
        assert await where(task.apply_async(queue="call")) == ("call", 3)
        assert await where(app.send_task("task", queue="call")) == ("call", 3)
        assert await where(app.send_task("unknown", queue="call")) == ("call", 2)
        [many] = await call.enqueue_many([()])
        assert ((await many.info()).queue, (await many.info()).priority) == ("call", 0)
        assert await many.result(timeout=10) == "done"


async def test_a_caller_without_the_code_routes_by_its_own_settings() -> None:
    """Its worker need not know them, if it is told which queues to serve."""
    worker_app = Aioq()
    worker_app.task(name="mail.send")(work)
    caller = app_of({"mail.*": "mail"}, {"mail.*": {"priority": 9}})
    async with running(worker_app, queues=["mail"]) as worker:
        with caller.connected_to(worker.url):
            job = await caller.send_task("mail.send")
            info = await job.info()
            assert (info.queue, info.priority) == ("mail", 9)
            assert await job.result(timeout=10) == "done"
            await caller.aclose()


def test_a_worker_serves_every_queue_that_its_app_names() -> None:
    app = Aioq(
        settings=Settings(
            default_queue="usual",
            task_routes={"a.*": "routed", "b.*": {"queue": "other"}, "c.*": {"priority": 3}},
            task_annotations={"d.*": {"queue": "annotated"}, "e.*": {"priority": 2}},
        )
    )
    app.task(name="f", queue="own")(work)
    app.task(name="usual", queue="usual")(work)
    assert Worker(app).queues == ("usual", "annotated", "other", "own", "routed")
    assert Worker(app, queues=["own"]).queues == ("own",)


async def test_a_shared_task_follows_the_settings_of_the_app_that_has_it() -> None:
    app = app_of({"shared*": "routed"}, {"shared*": {"priority": 8}})
    app.task(name="shared")(work)
    async with running(app) as worker:
        assert worker.queues == ("default", "routed")
        assert await where(app.send_task("shared")) == ("routed", 8)
        assert await (await app.send_task("shared")).result(timeout=10) == "done"


async def test_annotations_are_the_defaults_of_every_option() -> None:
    app = app_of(
        annotations={
            "*": {"max_retries": 1, "default_retry_delay": 0, "autoretry_for": (ValueError,)},
            "quiet": {"ignore_result": True},
            "brief": {"expires": 0.01},
            "stubborn": {"max_retries": 2},
        }
    )
    twice = app.task(name="twice")(fail)
    once = app.task(name="once", max_retries=0)(fail)
    stubborn = app.task(name="stubborn")(fail)
    quiet = app.task(name="quiet")(work)
    brief = app.task(name="brief")(work)
    async with running(app) as worker:
        jobs = [await task.enqueue() for task in (once, twice, stubborn)]
        for job in jobs:
            with pytest.raises(TaskFailed, match="no"):
                await job.result(timeout=10)
        assert [(await job.info()).deliveries for job in jobs] == [1, 2, 3]
        assert await (await quiet.enqueue()).result(timeout=10) is None
        worker.drain()
        await eventually(lambda: worker.has_left)
        late = await brief.enqueue()
        await asyncio.sleep(0.02)  # until it has expired
        async with running(app, url=worker.url):

            async def is_revoked() -> bool:
                return await late.status() is JobState.REVOKED

            await eventually(is_revoked)


@pytest.mark.parametrize(
    "settings",
    [
        {"task_routes": {"a": "b c"}},
        {"task_routes": {"a": {"queue": "b", "colour": 1}}},
        {"task_routes": {"a": {"priority": 10}}},
        {"task_annotations": {"a": {"priority": -1}}},
        {"task_annotations": {"a": {"queue": "b:c"}}},
        {"task_annotations": {"a": {"colour": 1}}},
    ],
)
def test_what_cannot_be_is_refused_with_its_pattern(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"task_(routes|annotations)\['a'\]"):
        Settings(**settings)
