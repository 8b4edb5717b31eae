"""What a starting worker does with the schedules of its code."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from aioq import Aioq, AioqError, ConfigurationError, ScheduleInfo, Settings, crontab, every
from aioq.broker.schedules import Change
from aioq.broker.schedules import reconcile as bring
from aioq.core.recurring import RUN_TIME, decode
from aioq.testing import running
from aioq.worker import Worker, scheduler
from aioq.worker.reconciling import reconcile
from aioq.worker.scheduler import Scheduler
from tests.broker.place import Place
from tests.eventually import eventually


def release(
    place: Place, *declare: Callable[[Aioq], None], settings: Settings | None = None
) -> Aioq:
    """Return one release of an app: all of them come from this function, which is their source."""
    app = Aioq(place.url, name="test", settings=settings)

    @app.task(name="report")
    async def report(kind: str = "daily") -> str:
        return kind

    for each in declare:
        each(app)
    return app


def other_release(place: Place, *declare: Callable[[Aioq], None]) -> Aioq:
    """Return an app of the same name that comes from elsewhere."""
    app = Aioq(place.url, name="test")
    app.task(name="other")(_nothing)
    for each in declare:
        each(app)
    return app


async def _nothing() -> None: ...


def yearly(name: str, *, hour: int = 3, args: tuple[str, ...] = ()) -> Callable[[Aioq], None]:
    """Declare a schedule that is not due while the test runs."""
    at = datetime.now().astimezone() + timedelta(days=100)
    rule = crontab(minute=0, hour=hour, day_of_month=min(at.day, 28), month_of_year=at.month)

    def declare(app: Aioq) -> None:
        task = next(iter(app.tasks.values()))
        app.schedule(name, task.s(*args), rule)

    return declare


async def start(app: Aioq) -> dict[str, ScheduleInfo]:
    """Do what a starting worker does; return the schedules by name."""
    async with app:
        await reconcile(app, app.client.broker(), patience=5)
        return {each.name: each for each in await app.schedules.list()}


async def test_an_app_without_schedules_leaves_nothing_behind(place: Place) -> None:
    assert await start(release(place)) == {}
    assert place.dump() == {}


async def test_the_source_of_an_app_is_where_it_was_made(place: Place) -> None:
    assert release(place).source == f"{__name__}:release"
    found = await start(release(place, yearly("a")))
    assert found["a"].source == f"{__name__}:release"


async def test_what_was_taken_out_of_the_code_is_gone_and_what_is_new_is_there(
    place: Place,
) -> None:
    await start(release(place, yearly("a"), yearly("b")))
    assert sorted(await start(release(place, yearly("b"), yearly("c")))) == ["b", "c"]
    assert await start(release(place)) == {}


async def test_a_start_with_the_same_code_changes_nothing(place: Place) -> None:
    await start(release(place, yearly("a")))
    before = place.dump()
    again = release(place, yearly("a"))
    await start(again)
    after = place.dump()
    assert {**after, "cs": None} == {**before, "cs": None}


async def test_a_changed_rule_is_due_anew_and_a_changed_call_when_it_would_have_been(
    place: Place,
) -> None:
    before = await start(release(place, yearly("a"), yearly("b")))
    place.admin("ZADD", f"{place.prefix}cz", 123_000, "a", 123_000, "b")
    after = await start(release(place, yearly("a", args=("weekly",)), yearly("b", hour=4)))
    assert after["a"].args == ("weekly",)
    assert after["a"].next_at == datetime.fromtimestamp(123).astimezone()
    assert after["b"].next_at is not None and before["b"].next_at is not None
    assert after["b"].next_at - before["b"].next_at == timedelta(hours=1)


async def test_a_pause_outlives_a_deploy(place: Place) -> None:
    first = release(place, yearly("a"))
    await start(first)
    async with first:
        await first.schedules.pause("a")
    found = await start(release(place, yearly("a", hour=5)))
    assert found["a"].paused
    assert found["a"].schedule.startswith("crontab(minute=0, hour=5")


async def test_schedules_made_at_run_time_and_those_of_others_are_kept(place: Place) -> None:
    first = release(place, yearly("a"))
    await start(first)
    async with first:
        await first.schedules.add("mine", first.tasks["report"].s("x"), 3600)
    await start(other_release(place, yearly("theirs")))
    found = await start(release(place))
    assert {name: each.source for name, each in found.items()} == {
        "mine": None,
        "theirs": f"{__name__}:other_release",
    }


async def test_a_name_that_somebody_else_has_is_kept_as_it_is_and_said(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    first = release(place, yearly("a"))
    await start(first)
    async with first:
        await first.schedules.add("b", first.tasks["report"].s(), 3600)
    found = await start(other_release(place, yearly("a"), yearly("b"), yearly("c")))
    assert {name: each.task for name, each in found.items()} == {
        "a": "report",
        "b": "report",
        "c": "other",
    }
    assert (
        f"The schedule 'a' of {__name__}:other_release is not used, for there is another of this "
        f"name, which belongs to {__name__}:release and is kept: give one of them another name, "
        "or, if the other is not wanted any more, run `aioq schedules remove a`"
    ) in caplog.text
    assert "'b' of" in caplog.text and "was made at run time and is kept" in caplog.text
    # The way that the message shows.
    async with first:
        await first.schedules.remove("a")
    assert (await start(other_release(place, yearly("a"))))["a"].task == "other"


async def test_a_rolling_deploy_does_not_flap(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """An old worker that is slow has begun before the new one, and comes after it."""
    caplog.set_level(logging.INFO)
    old, new = release(place, yearly("a"), yearly("b")), release(place, yearly("a", hour=9))
    await start(old)
    old.reconciled_ms = (old.reconciled_ms or 0) - 1000
    found = await start(new)
    assert await start(old) == found
    assert list(found) == ["a"]
    assert "A newer worker of" in caplog.text
    assert await start(release(place, yearly("a"), yearly("b"))) != found, "a newer one again"


async def test_a_newer_process_has_the_word_although_it_has_changed_nothing(place: Place) -> None:
    first, newer = release(place, yearly("a")), release(place, yearly("a"))
    first.reconciled_ms = 1
    await start(first)
    found = await start(newer)
    late = release(place, yearly("a", hour=9))
    late.reconciled_ms = (newer.reconciled_ms or 0) - 1
    assert await start(late) == found


async def test_news_reach_a_worker_that_rests(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    rests: list[float] = []
    fire = Scheduler.fire

    async def noted(self: Scheduler) -> float:
        rests.append(await fire(self))
        return rests[-1]

    monkeypatch.setattr(Scheduler, "fire", noted)
    monkeypatch.setattr(scheduler, "LOOK_AGAIN", 600)
    app = release(place, yearly("a"))

    async def fired(name: str) -> bool:
        return bool(await app.schedules.history(name))

    async with running(app, url=place.url):
        for name in ("first", "second", "third"):  # the first one may be found by the way
            await eventually(lambda: rests and rests[-1] == 600)
            await app.schedules.add(name, app.tasks["report"].s(), every(0.05))
            await eventually(lambda name=name: fired(name))
            await app.schedules.remove(name)


async def test_a_process_speaks_with_the_same_word_however_often_it_starts(place: Place) -> None:
    app = release(place, yearly("a"))
    await start(app)
    began = app.reconciled_ms
    await start(app)
    assert app.reconciled_ms == began


async def test_many_schedules_are_brought_and_removed_in_slices(place: Place) -> None:
    names = [f"s{n}" for n in range(600)]
    assert sorted(await start(release(place, *map(yearly, names)))) == sorted(names)
    assert list(await start(release(place, yearly("s7")))) == ["s7"]


async def test_the_apps_timezone_counts_where_a_schedule_has_none(place: Place) -> None:
    paris = Settings(timezone="Europe/Paris")
    found = await start(release(place, yearly("a"), settings=paris))
    assert found["a"].timezone == "Europe/Paris"
    found = await start(release(place, yearly("a")))
    assert found["a"].timezone == "UTC"


async def test_a_task_that_the_app_does_not_have_is_a_warning(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    def by_name(app: Aioq) -> None:
        app.beat_schedule["x"] = {"task": "elsewhere.task", "schedule": 3600, "args": (1,)}

    found = await start(release(place, by_name))
    assert (found["x"].task, found["x"].args) == ("elsewhere.task", (1,))
    assert "'x' makes jobs of the task 'elsewhere.task', which none of" in caplog.text


async def test_a_mistake_in_the_code_is_an_error_of_the_start(place: Place) -> None:
    def twice(app: Aioq) -> None:
        app.task(name="a", schedule=30)(_nothing)
        app.schedule("a", app.tasks["report"].s(), 30)

    with pytest.raises(ConfigurationError, match=r"two schedules are named 'a': .*:\d+ and task a"):
        await start(release(place, twice))
    assert place.dump() == {}


async def test_a_worker_serves_the_queues_that_its_schedules_name(place: Place) -> None:
    def to_mail(app: Aioq) -> None:
        app.schedule("a", app.tasks["report"].s().set(queue="mail"), 3600)
        app.beat_schedule["b"] = {
            "task": "elsewhere.task",
            "schedule": every(3600),
            "options": {"queue": "slow"},
        }

    app = release(place, to_mail)
    async with running(app, url=place.url) as worker:
        assert worker.queues == ("default", "mail", "slow")
        names = {each.name async for each in app.schedules.list()}
    assert names == {"a", "b"}


async def test_a_worker_that_does_not_take_part_brings_nothing(place: Place) -> None:
    app = release(place, yearly("a"))
    worker = Worker(app, burst=True, scheduler=False)
    await worker.run()
    await app.aclose()
    assert "cr" not in place.dump()


async def test_what_is_stored_says_all_that_a_scheduler_needs(place: Place) -> None:
    await start(release(place, yearly("a", args=("weekly",))))
    definition = decode(place.admin("HGET", f"{place.prefix}cr", "a"))
    assert (definition.task, definition.lane) == ("report", "default:5")
    assert definition.source != RUN_TIME


async def test_what_another_release_has_brought_is_listed_and_can_be_paused_and_removed(
    place: Place,
) -> None:
    app = release(place)
    strange = Change("strange", b"other:app\n\x81\xa3new\x01", 4_000_000_000_000, "")
    place.run(bring(place.prefix, source="other:app", version=1, changes=[strange]))
    async with app:
        [info] = await app.schedules.list()
        assert (info.task, info.source, info.args) == ("?", "other:app", None)
        assert info.schedule == "? (of another release)"
        with pytest.raises(AioqError, match="schedule 'strange' was brought by another release"):
            await app.schedules.run_now("strange")
        await app.schedules.pause("strange")
        await app.schedules.remove("strange")
    assert list(place.dump()) == ["cs"]


async def test_what_is_overdue_is_not_what_comes_next(place: Place) -> None:
    app = release(place, yearly("a"))
    await start(app)
    place.admin("ZADD", f"{place.prefix}cz", 123_000, "a")
    async with app:
        [following] = await app.schedules.next("a")
    assert following > datetime.now().astimezone()
