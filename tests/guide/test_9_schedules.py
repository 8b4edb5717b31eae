"""Jobs that make themselves: on the minute, every Monday at seven, every thirty seconds."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from aioq import (
    Aioq,
    ConfigurationError,
    JobState,
    ScheduleNotFound,
    Settings,
    crontab,
    every,
)
from aioq.testing import embedded_server, running
from tests.eventually import eventually

app = Aioq(settings=Settings(timezone="Europe/Paris"))
ran: list[str] = []


@app.task
async def report(kind: str) -> str:
    ran.append(kind)
    return f"the {kind} report"


@app.task(schedule=every(0.05))
async def heartbeat() -> None:
    ran.append("beat")


@app.task(schedule=[crontab(hour=3, minute=0), every(86_400)])
async def clean_up(age: int = 30) -> None:
    ran.append(f"older than {age} days")


app.schedule("monday-report", report.s("weekly"), crontab(hour=7, minute=30, day_of_week=1))
app.schedule("midnight", clean_up.s(16), crontab("0 0 * * *"), overlap="skip", jitter=5)
app.beat_schedule = {
    "every-hour": {"task": report, "schedule": 3600.0, "args": ("hourly",)},
    "elsewhere": {
        "task": "billing.tasks.close",
        "schedule": crontab(day_of_month=1, hour=6, minute=0),
        "kwargs": {"month": "last"},
        "options": {"queue": "billing", "priority": 9, "expires": 3600},
    },
}


@pytest.fixture(autouse=True)
def nothing_has_run() -> Iterator[None]:
    ran.clear()
    yield


async def test_a_task_with_a_schedule_runs_by_itself_while_a_worker_lives() -> None:
    async with running(app):
        await eventually(lambda: ran.count("beat") >= 3)


async def test_a_schedule_in_code_is_known_to_the_server_as_soon_as_a_worker_has_started() -> None:
    async with running(app):
        found = {each.name: each async for each in app.schedules.list()}
    assert sorted(found) == sorted(
        [
            "elsewhere",
            "every-hour",
            "midnight",
            "monday-report",
            clean_up.name,
            f"{clean_up.name}#2",
            heartbeat.name,
        ]
    )
    monday = found["monday-report"]
    assert (monday.task, monday.args, monday.kwargs) == (report.name, ("weekly",), {})
    assert monday.schedule == "crontab(minute=30, hour=7, day_of_week=1)"
    assert (monday.timezone, monday.source) == ("Europe/Paris", app.source)
    assert (monday.missed, monday.overlap, monday.jitter) == ("one", "allow", 0)
    assert (monday.paused, monday.last) == (False, None)
    assert monday.next_at is not None and monday.next_at > datetime.now(UTC)


async def test_celerys_table_means_what_it_means_there() -> None:
    async with running(app):
        found = {each.name: each for each in await app.schedules.list()}
    elsewhere = found["elsewhere"]
    assert (elsewhere.queue, elsewhere.priority, elsewhere.expires) == ("billing", 9, 3600)
    assert elsewhere.kwargs == {"month": "last"}
    assert found["every-hour"].schedule == "every(3600)"
    assert app.beat_schedule["every-hour"].get("args") == ("hourly",)


async def test_the_next_occurrences_are_moments_in_the_timezone_of_the_schedule() -> None:
    async with running(app):
        first, second = await app.schedules.next("monday-report", 2)
        assert first.weekday() == second.weekday() == 0
        assert (first.hour, first.minute, str(first.tzinfo)) == (7, 30, "Europe/Paris")
        assert timedelta(days=6.9) < second - first < timedelta(days=7.1)
        assert first == crontab(hour=7, minute=30, day_of_week=1, tz="Europe/Paris").next(
            datetime.now(UTC)
        )
        for wrong in (0, 1001, "2"):
            with pytest.raises(ConfigurationError, match="n is a number from 1 to 1000"):
                await app.schedules.next("monday-report", wrong)  # pyright: ignore[reportArgumentType]


async def test_a_schedule_can_be_run_now_and_that_changes_none_of_its_times() -> None:
    async with running(app):
        before = await app.schedules.next("monday-report")
        job = await app.schedules.run_now("monday-report")
        assert await job.result(timeout=10) == "the weekly report"
        assert await app.schedules.next("monday-report") == before
        [line] = await app.schedules.history("monday-report")
        assert (line.outcome, line.job_id) == ("run now", job.id)


async def test_what_became_of_its_occurrences_is_kept_the_newest_first() -> None:
    async with running(app) as worker:
        await eventually(lambda: ran.count("beat") >= 3)
        await app.schedules.pause(heartbeat.name)
        await worker.run_until_idle()
        history = await app.schedules.history(heartbeat.name)
        assert len(history) == ran.count("beat")
        assert [each.outcome for each in history] == ["fired"] * len(history)
        assert [each.at for each in history] == sorted((each.at for each in history), reverse=True)
        for each in history:
            assert each.job_id is not None
            assert each.job_id == f"cron:{heartbeat.name}:{each.at.timestamp() * 1000:.0f}"
            assert await app.job(each.job_id).status() is JobState.SUCCESS


async def test_a_paused_schedule_rests_until_it_is_resumed() -> None:
    async with running(app) as worker:
        await eventually(lambda: "beat" in ran)
        await app.schedules.pause(heartbeat.name)
        await worker.run_until_idle()
        [info] = [each async for each in app.schedules.list() if each.name == heartbeat.name]
        assert (info.paused, info.next_at) == (True, None)

        job = await app.schedules.run_now(heartbeat.name)
        await job.result(timeout=10)

        ran.clear()
        await app.schedules.resume(heartbeat.name)
        await eventually(lambda: "beat" in ran)


async def test_schedules_can_be_added_while_workers_run() -> None:
    async with running(app):
        await app.schedules.add("often", report.s("fresh"), every(0.05))
        await eventually(lambda: "fresh" in ran)
        await app.schedules.add("often", report.s("fresher"), timedelta(seconds=0.05))
        await eventually(lambda: "fresher" in ran)
        [info] = [each async for each in app.schedules.list() if each.name == "often"]
        assert (info.source, info.args) == (None, ("fresher",))
        await app.schedules.remove("often")
        with pytest.raises(ScheduleNotFound, match="no schedule 'often'"):
            await app.schedules.history("often")


async def test_a_name_in_the_code_cannot_be_taken_at_run_time() -> None:
    async with running(app):
        with pytest.raises(ConfigurationError, match=f"belongs to the code of {app.source}: cha"):
            await app.schedules.add("midnight", report.s("x"), 60)


async def test_a_name_that_nobody_knows_is_an_error_that_names_the_nearest() -> None:
    schedules = app.schedules
    async with running(app):
        for unknown in (
            schedules.pause("midnigth"),
            schedules.resume("midnigth"),
            schedules.remove("midnigth"),
            schedules.run_now("midnigth"),
            schedules.next("midnigth"),
            schedules.history("midnigth"),
        ):
            with pytest.raises(ScheduleNotFound, match="did you mean 'midnight'"):
                await unknown


async def test_one_that_no_worker_has_brought_yet_is_only_in_the_code() -> None:
    with embedded_server() as server, app.connected_to(server.url):
        with pytest.raises(ScheduleNotFound, match="'midnight' is in this code, and not yet on"):
            await app.schedules.pause("midnight")
        await app.aclose()


@app.task
async def one_at_a_time(name: str) -> None:
    ran.append(f"{name} begins")
    await eventually(lambda: "go" in ran)
    ran.append(f"{name} ends")


async def test_jobs_that_must_not_overlap_wait_for_each_other_or_are_left_out() -> None:
    async with running(app) as worker:
        await app.schedules.add("left", one_at_a_time.s("left"), every(0.05), overlap="skip")
        await app.schedules.add("wait", one_at_a_time.s("wait"), every(0.05), overlap="queue")

        async def passed(name: str, outcome: str) -> bool:
            history = await app.schedules.history(name)
            return [each.outcome for each in history].count(outcome) >= 3

        await eventually(lambda: "left begins" in ran and "wait begins" in ran)
        await eventually(lambda: passed("left", "overlap"))
        await eventually(lambda: passed("wait", "fired"))
        assert (ran.count("left begins"), ran.count("wait begins")) == (1, 1)
        for name in ("left", "wait"):
            await app.schedules.pause(name)
        ran.append("go")
        await eventually(lambda: ran.count("wait ends") >= 3)
        await worker.run_until_idle()
    waited = [each for each in ran if each.startswith("wait")]
    assert waited == ["wait begins", "wait ends"] * (len(waited) // 2), "one after the other"


def test_what_is_wrong_with_a_schedule_is_said_where_it_is_written() -> None:
    mistakes = Aioq()

    @mistakes.task
    async def add(x: int, y: int) -> int:
        return x + y

    with pytest.raises(ConfigurationError, match=r"is no signature: write .*add\.s\(\.\.\.\)"):
        mistakes.schedule("a", add, 30)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="missing a required argument: 'y'"):
        mistakes.schedule("a", add.s(1), 30)
    with pytest.raises(ConfigurationError, match=r"'30 \* \* \* \*' is no schedule: write cront"):
        mistakes.schedule("a", add.s(1, 2), "30 * * * *")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigurationError, match="countdown or eta cannot be given to a schedule"):
        mistakes.schedule("a", add.s(1, 2).set(countdown=5), 30)
    with pytest.raises(ConfigurationError, match="job_id cannot be given to a schedule"):
        mistakes.schedule("a", add.s(1, 2).set(job_id="x"), 30)
    with pytest.raises(ConfigurationError, match=r"an absolute expires cannot .*; give seconds"):
        mistakes.schedule("a", add.s(1, 2).set(expires=datetime(2030, 1, 1, tzinfo=UTC)), 30)
    with pytest.raises(ConfigurationError, match="missed='never' is wrong: it is 'skip', 'one'"):
        mistakes.schedule("a", add.s(1, 2), 30, missed="never")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigurationError, match="unknown option 'jiter'; did you mean 'jitter'"):
        mistakes.schedule("a", add.s(1, 2), 30, jiter=5)  # pyright: ignore[reportCallIssue]
    with pytest.raises(ConfigurationError, match="the name 'a b' of a schedule is wrong"):
        mistakes.schedule("a b", add.s(1, 2), 30)
    mistakes.schedule("a", add.s(1, 2), 30)
    with pytest.raises(ConfigurationError, match=r"two schedules are named 'a': .*\.py:\d+ and"):
        mistakes.schedule("a", add.s(3, 4), 60)
    with pytest.raises(ConfigurationError, match="two schedules are named 'a'"):
        mistakes.beat_schedule = {"a": {"task": add, "schedule": 30, "args": (1, 2)}}


def test_a_task_that_needs_arguments_cannot_schedule_itself() -> None:
    mistakes = Aioq()
    with pytest.raises(ConfigurationError, match=r"needs arguments .*app\.schedule\(name, add\.s"):

        @mistakes.task(schedule=30)
        async def add(x: int, y: int) -> None: ...

    with pytest.raises(ConfigurationError, match=r"task mail\.überprüfen .* 1 to 100 letters"):

        @mistakes.task(schedule=30, name="mail.überprüfen")
        async def over() -> None: ...

    with pytest.raises(ConfigurationError, match="schedule='daily' is no schedule"):

        @mistakes.task(schedule="daily")  # pyright: ignore[reportArgumentType]
        async def daily() -> None: ...


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"schedule": 30}, "the key 'task' is missing"),
        ({"task": "a.b"}, "the key 'schedule' is missing"),
        ({"task": "a.b", "schedule": "daily"}, "schedule='daily' is no schedule"),
        ({"task": 7, "schedule": 30}, "task=7 is wrong: it is a task, or the name of one"),
        ({"task": "a.b", "schedule": 30, "arg": ()}, "unknown key 'arg'; did you mean 'args'"),
        ({"task": "a.b", "schedule": 30, "args": "ab"}, "args='ab' is wrong: it is a tuple"),
        ({"task": "a.b", "schedule": 30, "kwargs": [1]}, r"kwargs=\[1\] is wrong: it is a dict"),
        ({"task": "a.b", "schedule": 30, "options": {"ques": "x"}}, "options: unknown option 'que"),
        ({"task": "a.b", "schedule": 30, "options": "mail"}, "options='mail' is wrong: it is a"),
        ({"task": "a.b", "schedule": 30, "options": {"countdown": 5}}, "countdown or eta cannot"),
        ({"task": "a.b", "schedule": 30, "options": {"priority": 11}}, "priority=11 is wrong"),
        ({"task": "a.b", "schedule": 30, "overlap": "no"}, "overlap='no' is wrong"),
        (30, "30 is wrong: it is"),
    ],
)
def test_what_is_wrong_with_celerys_table_is_said(entry: object, said: str) -> None:
    mistakes = Aioq()
    with pytest.raises(ConfigurationError, match=rf"^beat_schedule\['x'\].*{said}"):
        mistakes.beat_schedule = {"x": entry}  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ConfigurationError, match=said):
        mistakes.beat_schedule.update({"x": entry})  # pyright: ignore[reportCallIssue, reportArgumentType]
    assert dict(mistakes.beat_schedule) == {}


def test_the_table_is_a_mapping_that_can_be_changed() -> None:
    other = Aioq()
    other.beat_schedule = {"x": {"task": "a.b", "schedule": 30}}
    other.beat_schedule["x"] = {"task": "a.b", "schedule": 60}
    other.beat_schedule.update(y={"task": "a.b", "schedule": 90})
    del other.beat_schedule["x"]
    assert list(other.declared_schedules()) == ["y"]
    other.beat_schedule = other.beat_schedule
    assert list(other.declared_schedules()) == ["y"]
    other.beat_schedule = {}
    assert other.declared_schedules() == {}
    with pytest.raises(ConfigurationError, match=r"beat_schedule=\[\] is wrong: it is a dict"):
        other.beat_schedule = []  # pyright: ignore[reportAttributeAccessIssue]


async def test_a_test_that_wants_no_schedules_runs_without() -> None:
    async with running(app, scheduler=False):
        assert await app.schedules.list() == []
