"""The scheduler of a worker, one pass at a time, by a clock that is moved."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from aioq.broker import schedules
from aioq.broker.broker import Broker
from aioq.broker.schedules import Change
from aioq.broker.topology import parse
from aioq.broker.weather import Weather
from aioq.core.cron import Schedule, crontab, every
from aioq.core.recurring import Definition, Policy, Target, define
from aioq.observe.outage import Outage
from aioq.worker import scheduler as module
from aioq.worker.scheduler import LOOK_AGAIN, LOOK_FOR_ANY, Scheduler
from tests.broker.clock import Clock
from tests.broker.place import START, Place, broker_on
from tests.eventually import eventually
from tests.faults.proxy import proxy_to

SECOND, PERIOD, MINUTE, HOUR = 1000, 50_000, 60_000, 3_600_000


@pytest.fixture
async def broker(place: Place, clock: Clock) -> AsyncGenerator[Broker]:
    opened = Broker(parse(place.url, prefix=place.prefix), place.keys, enqueue_timeout=5)
    yield opened
    await opened.aclose()


def made(rule: Schedule, *, payload: bytes = b"p", **kept: object) -> Definition:
    target = Target("add", "default:5", payload, "")
    policy = Policy(**kept)  # pyright: ignore[reportArgumentType]
    return define(target, rule, policy, name="x", source="m:a", timezone=None)


def bring(place: Place, *names: str, definition: Definition, at: int | None = None) -> None:
    next_ms = definition.schedule.next_ms(START) if at is None else at
    changes = [Change(name, definition.encode(), next_ms, "") for name in names or ["x"]]
    place.run(schedules.reconcile(place.prefix, source="m:a", version=0, changes=changes))


def jobs(place: Place) -> list[int]:
    """Return the occurrences of the jobs there are, relative to the start of the clock."""
    names = [name for name in place.dump() if name.startswith("j:cron:")]
    return sorted(int(name.rpartition(":")[2]) - START for name in names)


def history(place: Place, name: str = "x") -> list[str]:
    lines = place.run(schedules.read(place.prefix, name=name, most=-1)).history
    return [line.decode()[0] for line in lines]


async def test_without_schedules_a_scheduler_looks_once_a_minute(broker: Broker) -> None:
    """And so it stays within what an idle worker may ask."""
    assert await Scheduler(broker, Outage()).fire() == LOOK_FOR_ANY


async def test_it_rests_until_the_next_occurrence_and_not_for_long(
    place: Place, clock: Clock, broker: Broker
) -> None:
    scheduler = Scheduler(broker, Outage())
    bring(place, definition=made(every(HOUR)))
    assert await scheduler.fire() == LOOK_AGAIN
    bring(place, "y", definition=made(every(5)), at=START + 3 * SECOND)
    assert await scheduler.fire() == 3
    clock.advance(3 * SECOND)
    assert await scheduler.fire() == 2
    assert jobs(place) == [3 * SECOND]


async def test_of_two_schedulers_one_fires(place: Place, clock: Clock, broker: Broker) -> None:
    bring(place, *"abc", definition=made(every(60)))
    clock.advance(MINUTE)
    both = [Scheduler(broker, Outage()) for _ in range(5)]
    pauses = await asyncio.gather(*(each.fire() for each in both))
    first = every(60).next_ms(START) - START
    assert jobs(place) == [first] * 3
    assert pauses == [min(LOOK_AGAIN, (first + MINUTE - MINUTE) / 1000)] * 5


@pytest.mark.parametrize(
    ("missed", "expected"),
    [
        ("skip", [600, 601, 602]),
        ("one", [590, 600, 601, 602]),
        ("all", [560, 570, 580, 590, 600, 601, 602]),
    ],
)
async def test_what_was_missed_is_made_up_for_as_its_schedule_says(
    place: Place, clock: Clock, broker: Broker, missed: str, expected: list[int]
) -> None:
    rule = every(10)
    bring(place, definition=made(rule, missed=missed, missed_window=45), at=START)
    clock.advance(605 * SECOND)
    # Beside it one that comes each second: what is not ten seconds late was not missed.
    bring(place, "y", definition=made(every(1), missed=missed), at=START + 601 * SECOND)
    clock.advance(-3 * SECOND)
    await Scheduler(broker, Outage()).fire()
    assert [at // SECOND for at in jobs(place)] == expected


async def test_a_thousand_missed_occurrences_are_made_in_slices(
    place: Place, clock: Clock, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    bring(place, definition=made(every(1), missed="all"), at=START)
    clock.advance(1000 * SECOND)
    scheduler, calls = Scheduler(broker, Outage()), 1
    while await scheduler.fire() == 0:
        calls += 1
    assert jobs(place) == [n * SECOND for n in range(1001)]
    assert calls == 11


async def test_large_payloads_are_fired_in_slices_too(
    place: Place, clock: Clock, broker: Broker
) -> None:
    definition = made(every(60), payload=b"p" * 600_000)
    bring(place, *"abcd", definition=definition, at=START)
    scheduler = Scheduler(broker, Outage())
    assert await scheduler.fire() == 0
    assert await scheduler.fire() > 0
    assert jobs(place) == [0] * 4


async def test_what_is_missed_and_what_may_not_overlap_is_said_by_who_found_it(
    place: Place, clock: Clock, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    place.admin("SET", place.keys.service("default"), "", "PX", 60_000)
    bring(place, definition=made(every(50), missed="skip", overlap="skip"), at=START)
    clock.advance(HOUR)
    for _ in range(2):
        await Scheduler(broker, Outage()).fire()
    clock.advance(PERIOD)
    for _ in range(2):
        await Scheduler(broker, Outage()).fire()
    said = [record.message for record in caplog.records if record.name == "aioq.scheduler"]
    assert said == [
        "Schedule x: missed from 2096-10-02T07:06:40+00:00 until 2096-10-02T08:06:40+00:00, "
        "because no worker was there; no jobs are made for that time.",
        "Schedule x: no job for 2096-10-02T08:07:30+00:00, because the one before has not ended.",
    ]
    assert history(place) == ["o", "f", "m"]


async def test_jitter_delays_a_job_and_not_its_occurrence(
    place: Place, clock: Clock, broker: Broker
) -> None:
    names = [f"s{n}" for n in range(20)]
    bring(place, *names, definition=made(every(60), jitter=30), at=START)
    await Scheduler(broker, Outage()).fire()
    found = place.dump()
    due = [job["due"] for name, job in found.items() if name.startswith("j:") and "due" in job]
    assert len(due) > 15
    assert all(START < each <= START + 30_000 for each in due)
    assert len(set(due)) > 15
    assert jobs(place) == [0] * 20


async def test_a_job_that_jitter_delays_has_all_the_time_it_may_wait(
    place: Place, clock: Clock, broker: Broker
) -> None:
    """Else those that are delayed for longer than they may wait would never run."""
    definition = define(
        Target("add", "default:5", b"p", "+5000"),
        every(60),
        Policy(jitter=30),
        name="x",
        source="m:a",
        timezone=None,
    )
    bring(place, *(f"s{n}" for n in range(20)), definition=definition, at=START)
    await Scheduler(broker, Outage()).fire()
    made = [job for name, job in place.dump().items() if name.startswith("j:")]
    assert {job["expires"] - job.get("due", START) for job in made} == {5000}


async def test_jobs_that_nobody_will_run_are_a_warning_once_a_minute(
    place: Place, clock: Clock, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    bring(place, "x", definition=made(every(60)), at=START)
    scheduler = Scheduler(broker, Outage())
    for _ in range(3):
        await scheduler.fire()
        clock.advance(MINUTE)
    said = "Schedule x: no live worker serves its queue 'default': its jobs wait until one is"
    assert caplog.text.count(said) == 1

    caplog.clear()
    place.admin("SET", place.keys.service("default"), "", "PX", 60_000)
    await Scheduler(broker, Outage()).fire()
    assert len(jobs(place)) == 4
    assert not caplog.text


async def test_a_definition_of_a_newer_release_is_left_to_newer_workers(
    place: Place, clock: Clock, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    strange = Change("strange", b"m:a\n\x81\xa3new\x01", START, "")
    place.run(schedules.reconcile(place.prefix, source="m:a", version=0, changes=[strange]))
    bring(place, definition=made(every(60)), at=START)
    scheduler = Scheduler(broker, Outage())
    assert await scheduler.fire() > 0
    assert await scheduler.fire() > 0, "it does not spin"
    assert jobs(place) == [0]
    assert caplog.text.count("'strange' is left to newer workers") == 1


async def test_it_does_not_spin_where_all_is_left_to_newer_workers(
    place: Place, clock: Clock, broker: Broker
) -> None:
    strange = [Change(f"s{n}", b"m:a\n?", START, "") for n in range(250)]
    place.run(schedules.reconcile(place.prefix, source="m:a", version=0, changes=strange))
    assert await Scheduler(broker, Outage()).fire() == LOOK_AGAIN


async def test_a_full_server_is_said_once_and_the_occurrence_comes_later(
    place: Place,
    clock: Clock,
    broker: Broker,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "FULL_PAUSE", 0.01)
    bring(place, definition=made(every(60)), at=START)
    place.admin("CONFIG", "SET", "maxmemory", 1)
    runs = asyncio.create_task(Scheduler(broker, Outage()).run())
    await eventually(lambda: "cannot be fired until there is room" in caplog.text)
    place.admin("CONFIG", "SET", "maxmemory", 0)
    await eventually(lambda: jobs(place) == [0])
    runs.cancel()
    await asyncio.wait({runs})
    assert caplog.text.count("cannot be fired until there is room") == 1


async def test_news_wake_a_scheduler_that_rests(place: Place, clock: Clock, broker: Broker) -> None:
    scheduler = Scheduler(broker, Outage())
    place.admin("CONFIG", "RESETSTAT")
    runs = asyncio.create_task(scheduler.run())
    await eventually(lambda: _calls(place) > 0)
    bring(place, definition=made(every(60)), at=START)
    scheduler.wake()
    await eventually(lambda: jobs(place) == [0])
    runs.cancel()
    await asyncio.wait({runs})


def _calls(place: Place) -> int:
    stats: bytes = place.admin("INFO", "commandstats")
    found = [line for line in stats.decode().splitlines() if "cmdstat_evalsha:" in line]
    return int(found[0].partition("calls=")[2].partition(",")[0]) if found else 0


async def test_a_reply_that_is_lost_costs_no_occurrence_and_makes_none_twice(
    place: Place, clock: Clock
) -> None:
    """Wherever the connection is cut: before the server has heard of it, or after it has fired."""
    bring(place, *"abc", definition=made(every(50)), at=START)
    made_all_the_same = 0
    async with proxy_to(place.url) as proxy, broker_on(place, url=proxy.url) as broker:
        scheduler = Scheduler(broker, Outage())
        for turn, count in enumerate(range(0, 480, 4)):
            proxy.cut_after(count)
            with suppress(Weather):
                await scheduler.fire()
                await scheduler.fire()
                await scheduler.fire()
            made_all_the_same += _next_of(place) == START + (turn + 1) * PERIOD
            while _next_of(place) != START + (turn + 1) * PERIOD:
                with suppress(Weather):
                    await scheduler.fire()
            clock.advance(PERIOD)
    assert jobs(place) == sorted([n * PERIOD for n in range(120)] * 3)
    assert 0 < made_all_the_same < 120, "both kinds of cuts were there"


def _next_of(place: Place) -> int:
    return int(place.admin("ZSCORE", f"{place.prefix}cz", "a"))


async def test_the_clock_changes_of_a_year_through_the_whole_stack(
    place: Place, clock: Clock, broker: Broker
) -> None:
    """The last Sunday of October 2096, in Paris: 02:30 comes twice, and is one job."""
    begin = datetime(2096, 10, 27, 12, tzinfo=UTC)
    clock.advance(int(begin.timestamp() * 1000) - START)
    fixed = made(crontab("30 2 * * *", tz="Europe/Paris"))
    pattern = made(crontab("30 */1 * * *", tz="Europe/Paris"))
    bring(place, "fixed", definition=fixed, at=fixed.schedule.next_ms(clock.now_ms))
    bring(place, "pattern", definition=pattern, at=pattern.schedule.next_ms(clock.now_ms))
    scheduler = Scheduler(broker, Outage())
    for _ in range(48):
        clock.advance(HOUR // 2)
        await scheduler.fire()
    moments = {
        name: [
            datetime.fromtimestamp(int(line.split()[1]) / 1000, UTC).strftime("%d %H:%M")
            for line in reversed(
                [
                    raw.decode()
                    for raw in place.run(schedules.read(place.prefix, name=name, most=-1)).history
                ]
            )
        ]
        for name in ("fixed", "pattern")
    }
    assert moments["fixed"] == ["28 00:30"]
    assert len(moments["pattern"]) == 24
