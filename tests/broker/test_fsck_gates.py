"""Damage to lines, gates and slots is found and mended, so that no limit stops for ever."""

import asyncio
from typing import NamedTuple

import pytest

from aioq import Aioq, Context, TokenBucket
from aioq.broker import fsck
from aioq.broker.findings import Report
from aioq.testing import running
from tests.broker.calls import beat, enqueue, fetch, outcome, recover, register, settle
from tests.broker.place import Place, State, broker_on, new_job

pytestmark = pytest.mark.broker

HOUR = 3_600_000
SLEEPS = "default:5·b:send:"
WAITS = "default:5·c:mail:"
READY = "default:5·"
ADDED, GONE, AGAIN, OPENED = (
    "added",
    "removed",
    "held by its limits again",
    "the next worker looks at it",
)
LOST = "made a dead letter, for it cannot be run any more"
QUEUED = "queued again"
BACK = "given back"
STAYS = "it does not expire any more"


async def examine(place: Place, *, repair: bool = False) -> Report:
    async with broker_on(place) as broker:
        return await fsck.Examiner(broker, repair=repair).examine()


@pytest.fixture
def gated(place: Place) -> Place:
    """A gate in each place: one asleep until its next token, one waiting for a slot, one ready."""
    place.is_sound = False  # at first; each test says how it ends
    place.admin("HSET", f"{place.prefix}lc", "b:send", "1 app 1 3600000000 1", "c:mail", "1 app 1")
    register(place, "w1")
    beat(place, "w1")
    enqueue(place, *(new_job(each, lane="default:5 f:t b:send:") for each in ("done", "sleeps")))
    enqueue(place, *(new_job(each, lane="default:5 c:mail:") for each in ("running", "waits")))
    deliveries = {each.job_id: each for each in fetch(place).deliveries}
    fetch(place)
    settle(place, outcome(deliveries[b"done"], "c", HOUR, b"R"))
    enqueue(place, new_job("ready", lane="default:5 f:x"), new_job("plain"))
    return place


def break_(place: Place, command: str) -> None:
    """Run a command; {p} is the prefix, and · a space within a word."""
    given = command.format(p=place.prefix, running=place.token("running").decode())
    place.admin(*(word.replace("·", " ") for word in given.split(" ")))


class Damage(NamedTuple):
    """What is done to a gated place, and what comes of it."""

    code: str
    commands: tuple[str, ...]
    text: str
    remedy: str
    others: tuple[str, ...] = ()
    """Codes of what is found besides."""


DAMAGES = [
    Damage(
        "slot-leaked",
        ("SADD {p}sl:c:mail: done",),
        "job done holds a slot of c:mail:, and does not run",
        BACK,
    ),
    Damage(
        "slot-leaked",
        ("SADD {p}sl:c:mail: nobody",),
        "job nobody holds a slot of c:mail:, and does not run",
        BACK,
    ),
    Damage(
        "slot-leaked",
        ("SADD {p}sl:c:other: running",),
        "job running holds a slot of c:other:, and does not run",
        BACK,
    ),
    Damage(
        "slot-idle",
        ("DEL {p}sl:c:mail:",),
        "jobs wait for a slot of c:mail:, and nobody holds one",
        OPENED,
    ),
    Damage(
        "parked-unlisted",
        ("ZREM {p}hq:default:5·c:mail:· waits",),
        "job waits is held by limits, and is not in line at default:5 c:mail:",
        ADDED,
        ("turn-stale",),
    ),
    Damage(
        "parked-unlisted",
        ("ZREM {p}hl:default:5·b:send: t",),
        "job sleeps is held by limits, and is not in line at default:5 b:send:",
        ADDED,
        ("gate-empty",),
    ),
    Damage(
        "parked-unlisted",
        ("DEL {p}hp:default:5",),
        "job waits is held by limits, and is not in line at default:5 c:mail:",
        ADDED,
    ),
    Damage(
        "parked-unlisted",
        ("DEL {p}hq:default:5··x {p}hl:default:5· {p}hr:default:5",),
        "job ready is held by limits, and is not in line at default:5 ",
        ADDED,
    ),
    Damage(
        "parked-lost",
        ("DEL {p}y:waits",),
        "job waits is held by limits, and its arguments are gone",
        LOST,
    ),
    Damage(
        "parked-lost",
        ("DEL {p}y:sleeps",),
        "job sleeps is held by limits, and its arguments are gone",
        LOST,
    ),
    Damage(
        "parked-free",
        ("HDEL {p}j:waits h",),
        "job waits is held by limits, and its record names none",
        QUEUED,
        ("line-stale",),
    ),
    Damage(
        "payload-expires",
        ("PEXPIRE {p}y:waits 999999",),
        "the arguments of job waits, which is parked, expire",
        STAYS,
    ),
    Damage(
        "live-expires",
        ("PEXPIRE {p}j:waits 999999",),
        "the record of job waits, which has not ended, expires",
        STAYS,
    ),
    Damage(
        "delayed-stale",
        ("ZADD {p}d 5 waits",),
        "the delayed set names job waits, which is parked",
        GONE,
    ),
    Damage(
        "parked-stale",
        ("ZADD {p}hp:default:5 5 plain",),
        "lane default:5 counts job plain among those held by limits, and it is not",
        GONE,
    ),
    Damage(
        "line-stale",
        ("ZADD {p}hq:default:5·c:mail:· 9 done",),
        "job done stands in the line default:5 c:mail: , where it does not belong",
        GONE,
    ),
    Damage(
        "line-stale",
        ("ZADD {p}hq:default:5·c:mail:· 9 sleeps",),
        "job sleeps stands in the line default:5 c:mail: , where it does not belong",
        GONE,
    ),
    Damage(
        "turn-stale",
        ("ZADD {p}hl:default:5·c:mail: 9 nobody",),
        "a turn at default:5 c:mail: is kept for the key 'nobody', which has no jobs",
        GONE,
    ),
    Damage(
        "gate-lost",
        ("ZREM {p}sw:c:mail: default:5·c:mail:",),
        "jobs wait at default:5 c:mail:, and nobody ever looks at it",
        OPENED,
        ("sleeper-stale",),
    ),
    Damage(
        "gate-lost",
        ("ZREM {p}d default:5·b:send:", "DEL {p}lg:b:send"),
        "jobs wait at default:5 b:send:, and nobody ever looks at it",
        OPENED,
    ),
    Damage(
        "gate-lost",
        ("ZREM {p}hr:default:5 default:5·",),
        "jobs wait at default:5 , and nobody ever looks at it",
        OPENED,
    ),
    Damage(
        "gate-twice",
        ("ZADD {p}hr:default:5 9 default:5·c:mail:",),
        "jobs wait at default:5 c:mail:, which is in more than one place: hr:default:5, sw:c:mail:",
        OPENED,
        ("sleeper-stale",),
    ),
    Damage(
        "gate-empty",
        ("ZADD {p}d 9000000000000 mail:5·b:send:",),
        "no job waits at mail:5 b:send:, and it is listed in the delayed set",
        GONE,
    ),
    Damage(
        "gate-empty",
        ("ZADD {p}sw:c:mail: 9 mail:5·c:mail:",),
        "no job waits at mail:5 c:mail:, and it is listed in sw:c:mail:",
        GONE,
    ),
    Damage(
        "gate-empty",
        ("ZADD {p}hr:mail:5 9 mail:5·c:mail:", "SADD {p}l mail:5"),
        "no job waits at mail:5 c:mail:, and it is listed in hr:mail:5",
        GONE,
    ),
    Damage(
        "gate-deaf",
        ("DEL {p}lg:c:mail",),
        "default:5 c:mail: sleeps in sw:c:mail:, and a change of its limits would not wake it",
        OPENED,
    ),
    Damage(
        "gate-deaf",
        ("DEL {p}lg:b:send",),
        "default:5 b:send: sleeps in the delayed set, and a change of its limits would not wake it",
        OPENED,
    ),
    Damage(
        "gate-astray",
        ("ZADD {p}hr:mail:5 9 default:5·c:mail:", "SADD {p}l mail:5"),
        "default:5 c:mail: is listed in hr:mail:5, where it does not belong",
        GONE,
    ),
    Damage(
        "gate-astray",
        ("ZADD {p}sw:c:other: 9 default:5·c:mail:",),
        "default:5 c:mail: is listed in sw:c:other:, where it does not belong",
        GONE,
        ("slot-idle",),
    ),
    Damage(
        "sleeper-stale",
        ("SADD {p}lg:c:mail default:5·",),
        "limit c:mail counts default:5  among those that sleep, and it does not",
        GONE,
    ),
    Damage(
        "turn-left",
        ("ZADD {p}hr:mail:5 -1 ",),
        "lane mail:5 keeps the turn of gates, and none is ready",
        GONE,
    ),
    Damage(
        "lane-unlisted",
        ("SREM {p}l default:5",),
        "lane default:5 holds jobs, and workers do not look into it",
        ADDED,
    ),
    Damage(
        "running-unheld",
        ("XGROUP DELCONSUMER {p}s:default:5h w w1", "ZREM {p}lw w1"),
        "job running is running, and its worker w1 does not hold its entry",
        QUEUED,
    ),
    Damage(
        "running-lost",
        (
            "XACK {p}s:default:5h w {running}",
            "XDEL {p}s:default:5h {running}",
            "ZREM {p}lw w1",
        ),
        "job running is running, and its entry is gone; its worker is w1",
        LOST,
        ("worker-unleased",),
    ),
    Damage(
        "queued-lost",
        ("HSET {p}j:plain h c:mail:",),
        "job plain is queued, and has no entry in default:5h",
        AGAIN,
        ("entry-stale",),
    ),
]


def identify(damage: object) -> str:
    return damage.code if isinstance(damage, Damage) else ""


def everything(place: Place) -> tuple[State, set[str]]:
    """Return all that is stored, and what of it expires."""
    return place.dump(), set(place.expiring())


@pytest.mark.parametrize("damage", DAMAGES, ids=identify)
async def test_damage_is_found_and_nothing_is_touched(gated: Place, damage: Damage) -> None:
    for command in damage.commands:
        break_(gated, command)
    before = everything(gated)
    report = await examine(gated)
    assert damage.text in {finding.text for finding in report.findings}
    assert {finding.code for finding in report.findings} == {damage.code, *damage.others}
    assert report.unmended == report.findings
    assert everything(gated) == before


@pytest.mark.parametrize("damage", DAMAGES, ids=identify)
async def test_damage_is_mended_and_every_job_runs(gated: Place, damage: Damage) -> None:
    for command in damage.commands:
        break_(gated, command)
    report = await examine(gated, repair=True)
    [found] = [each for each in report.findings if each.text == damage.text]
    assert found.remedy == damage.remedy
    assert report.unmended == []
    assert (await examine(gated, repair=True)).findings == []
    assert gated.problems() == []
    ended = run_all(gated)
    lost = {name for name, state in ended.items() if state == "failed"}
    assert len(lost) == (damage.remedy is LOST)
    expected = dict.fromkeys(("done", "running", "waits", "sleeps", "ready", "plain"), "completed")
    assert ended == expected | dict.fromkeys(lost, "failed")
    gated.is_sound = True


def run_all(place: Place) -> dict[str, str]:
    """End what runs, take the pace away, and run the rest; return the states."""
    place.admin("HSET", f"{place.prefix}lr", "b:send", "1000 1000 1000")
    if place.admin("ZSCORE", place.keys.leases, "w1") is not None:
        recover(place, epoch=9, known=[])
    register(place, "w9")
    beat(place, "w9")
    for gate in ("default:5 b:send:",):  # as a change of the limit does
        if place.admin("ZREM", f"{place.prefix}d", gate):
            place.admin("SREM", f"{place.prefix}lg:b:send", gate)
            place.admin("ZADD", f"{place.prefix}hr:default:5", 99, gate)
            place.admin("SADD", f"{place.prefix}l", "default:5")
    while deliveries := fetch(place, worker="w9").deliveries:
        for delivery in deliveries:
            assert delivery.payload == f"<{delivery.job_id.decode()}>".encode()
            assert settle(place, outcome(delivery, "c", HOUR, b"R")) == "K"
    dump = place.dump()
    return {name[2:]: value["state"] for name, value in dump.items() if name.startswith("j:")}


async def test_a_sound_place_has_no_findings_and_is_counted(gated: Place) -> None:
    report = await examine(gated)
    assert report.findings == []
    assert (report.jobs, report.delayed, report.parked) == (6, 0, {"default:5": 3})
    assert report.held == {"default:5": 0, "default:5h": 1}
    gated.is_sound = True


async def test_a_slot_that_was_leaked_is_for_the_next_in_line(gated: Place) -> None:
    """The job that held it has ended, and nobody has given it back."""
    break_(gated, "SREM {p}sl:c:mail: running")
    break_(gated, "SADD {p}sl:c:mail: done")
    assert fetch(gated).deliveries[0].job_id in {b"ready", b"plain"}
    report = await examine(gated, repair=True)
    assert [(each.code, each.name) for each in report.findings] == [("slot-leaked", "done")]
    assert [each.job_id for each in fetch(gated).deliveries] == [b"waits"]
    gated.is_sound = True


async def test_more_members_than_one_call_looks_at(place: Place) -> None:
    """Lines, keys, gates and holders, each in several slices."""
    place.is_sound = False
    register(place, "w1")
    for start in range(0, 300, 100):
        ids = range(start, start + 100)
        enqueue(place, *(new_job(f"f{n}", lane=f"default:5 f:{n}") for n in ids))
        enqueue(place, *(new_job(f"l{n}", lane="default:5 b:x:") for n in ids))
        enqueue(place, *(new_job(f"g{n}", lane=f"mail:5 b:x:{n}") for n in ids))
    place.admin("SADD", f"{place.prefix}sl:c:x:", *(f"leaked{n}" for n in range(300)))
    place.admin(
        "ZADD", f"{place.prefix}hq:default:5 b:x: ", *(w for n in range(200) for w in (n, f"s{n}"))
    )
    place.admin("ZADD", f"{place.prefix}hp:mail:5", *(w for n in range(200) for w in (n, f"s{n}")))
    gates = [word for n in range(100) for word in (9e12, f"mail:7 b:x:{n}")]
    place.admin("ZADD", f"{place.prefix}d", *gates)
    report = await examine(place, repair=True)
    counts: dict[str, int] = {}
    for finding in report.findings:
        counts[finding.code] = counts.get(finding.code, 0) + 1
    assert counts == {
        "slot-leaked": 300,
        "line-stale": 200,
        "parked-stale": 200,
        "gate-empty": 100,
    }
    assert report.unmended == []
    report = await examine(place)
    assert (report.findings, report.parked, report.delayed) == (
        [],
        {"default:5": 600, "mail:5": 300},
        0,
    )
    assert place.problems() == []
    place.is_sound = True


async def held(self: Context, number: int) -> int:
    """Take one of the ways that a job with limits can take."""
    if number % 7 == 0:
        self.retry(exc=ValueError("again"), countdown=0 if number % 2 else 0.002)
    if number % 7 == 1 and self.request.deliveries < 3:
        self.snooze(0)
    await asyncio.sleep(0.001 * (number % 3))
    return number


def _fifth(number: int) -> int:
    return number % 5


def held_app(place: Place) -> Aioq:
    made = Aioq(place.url, name="test")
    rate = TokenBucket(400, per=1, burst=5)
    made.task(bind=True, name="paced", max_retries=1, rate_limit=rate, max_concurrency=2)(held)
    made.task(bind=True, name="fair", max_retries=1, fair_by=_fifth, max_concurrency=2)(held)
    return made


async def test_limits_at_work_are_never_called_damaged(place: Place) -> None:
    """While their jobs wait, run and are revoked, limits change, and queues are paused."""
    app, over = held_app(place), asyncio.Event()
    numbers = [(number,) for number in range(25)]

    async def produce() -> None:
        for round_ in range(6):
            jobs = await app.tasks["paced"].enqueue_many(numbers)
            jobs += await app.tasks["fair"].enqueue_many(numbers)
            await app.limits.set("paced", TokenBucket(300 + round_, per=1, burst=3))
            await jobs[round_].revoke()
            await jobs[-1 - round_].revoke(terminate=True)
            await app.queues.pause("default")
            await jobs[-5].revoke()
            await app.queues.resume("default")
        over.set()

    async def come_and_go() -> None:
        while not over.is_set():
            async with running(held_app(place), url=place.url, concurrency=2) as worker:
                await asyncio.sleep(0.05)
                worker.drain()

    async with broker_on(place) as broker, running(app, url=place.url, concurrency=5) as worker:
        others = asyncio.gather(produce(), come_and_go())
        while not over.is_set():
            for repair in (False, True):
                report = await fsck.Examiner(broker, repair=repair).examine()
                assert (report.findings, report.is_complete) == ([], True)
        await others
        await worker.run_until_idle()
