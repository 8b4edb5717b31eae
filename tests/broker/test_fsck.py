"""Damage of every kind is found and mended, and a place at work is never called damaged."""

import asyncio
from typing import NamedTuple

import pytest

from aioq import Aioq, Context
from aioq.broker import fsck, inspect, letters, rights, scripts, server
from aioq.broker.findings import Report
from aioq.broker.keys import Keys
from aioq.testing import running
from tests.broker.calls import beat, enqueue, fetch, outcome, register, revoke, settle
from tests.broker.place import Place, State, broker_on, new_job
from tests.broker.users import acting_as
from tests.eventually import eventually

pytestmark = pytest.mark.broker

HOUR = 3_600_000


async def examine(place: Place, *, repair: bool = False) -> Report:
    async with broker_on(place) as broker:
        return await fsck.Examiner(broker, repair=repair).examine()


def texts(report: Report) -> list[str]:
    return sorted(finding.text for finding in report.findings)


@pytest.fixture
def busy(place: Place) -> Place:
    """A job in each state, and a worker that has one."""
    place.is_sound = False  # at first; each test says how it ends
    register(place, "w1")
    beat(place, "w1")
    enqueue(place, *(new_job(each) for each in ("done", "failed", "running")))
    done, failed, _ = fetch(place).deliveries
    settle(place, outcome(done, "c", HOUR, b"R"), outcome(failed, "f", "", b"\x92\xa1E\xa1m"))
    enqueue(place, new_job("queued"), new_job("delayed", due=f"+{HOUR}"), new_job("revoked"))
    revoke(place, "revoked", at_once=True)
    return place


def break_(place: Place, command: str) -> None:
    """Run a command; {p} is the prefix, {s} the lane, {queued} and {running} the ids of entries."""
    words = command.format(**names_in(place)).split(" ")
    place.admin(*words)


def names_in(place: Place) -> dict[str, str]:
    tokens = {name: place.token(name).decode() for name in ("queued", "running")}
    return {"p": place.prefix, "s": f"{place.prefix}s:default:5", **tokens}


class Damage(NamedTuple):
    """What is done to a busy place, and what comes of it."""

    code: str
    commands: tuple[str, ...]
    text: str
    remedy: str
    others: tuple[str, ...] = ()
    """Codes of what is found besides."""


LOST = "made a dead letter, for it cannot be run any more"
AGAIN = "queued again"
GONE = "removed"
KEPT = "removed, and its arguments kept for the job"
ADDED = "added"
STAYS = "it does not expire any more"
EXPIRES = "it expires now"
HELD = "its worker holds it again"
REAPED = "its jobs were given back, and it was removed"
DAMAGES = [
    Damage(
        "queued-lost",
        ("XDEL {s} {queued}",),
        "job queued is queued, and has no entry in default:5",
        LOST,
    ),
    Damage(
        "queued-lost",
        ("SET {p}y:queued <queued>", "XDEL {s} {queued}"),
        "job queued is queued, and has no entry in default:5",
        AGAIN,
    ),
    Damage(
        "queued-lost",
        ("HDEL {p}j:queued i",),
        "job queued is queued, and has no entry in default:5",
        AGAIN,
        ("entry-stale",),
    ),
    Damage(
        "queued-held",
        ("XREADGROUP GROUP w w1 COUNT 1 STREAMS {s} >",),
        "job queued is queued, and w1 holds its entry",
        AGAIN,
    ),
    Damage(
        "queued-passed",
        ("XGROUP SETID {s} w $",),
        "job queued is queued, and its entry in default:5 is never handed out again",
        AGAIN,
    ),
    Damage(
        "running-lost",
        ("XACK {s} w {running}", "XDEL {s} {running}", "ZREM {p}lw w1"),
        "job running is running, and its entry is gone; its worker is w1",
        LOST,
        ("worker-unleased",),
    ),
    Damage(
        "running-unheld",
        ("XGROUP DELCONSUMER {s} w w1",),
        "job running is running, and its worker w1 does not hold its entry",
        HELD,
    ),
    Damage(
        "running-unheld",
        ("XGROUP DELCONSUMER {s} w w1", "ZREM {p}lw w1"),
        "job running is running, and its worker w1 does not hold its entry",
        AGAIN,
    ),
    Damage(
        "running-unheld",
        ("XGROUP DESTROY {s} w",),
        "job running is running, and its worker w1 does not hold its entry",
        AGAIN,
        ("group-gone",),
    ),
    Damage(
        "running-unheld",
        ("ZADD {p}lw 9000000000000 w2", "XCLAIM {s} w w2 0 {running}"),
        "job running is running, and its worker w1 does not hold its entry",
        HELD,
    ),
    Damage(
        "worker-unleased",
        ("ZREM {p}lw w1",),
        "worker w1 has no lease, and reads lane default:5 (holds 1)",
        REAPED,
    ),
    Damage(
        "worker-unleased",
        ("ZREM {p}lw w1", "SREM {p}ss default:5"),
        "worker w1 has no lease, and reads lane default:5 (holds 1)",
        REAPED,
        ("group-unlisted",),
    ),
    Damage(
        "delayed-unlisted",
        ("ZREM {p}d delayed",),
        "job delayed is delayed, and the delayed set does not know it",
        ADDED,
    ),
    Damage(
        "delayed-lost",
        ("DEL {p}y:delayed",),
        "job delayed is delayed, and its arguments are gone",
        LOST,
    ),
    Damage(
        "payload-expires",
        ("PEXPIRE {p}y:delayed 999999",),
        "the arguments of job delayed, which is delayed, expire",
        STAYS,
    ),
    Damage(
        "delayed-stale",
        ("ZADD {p}d 5 queued",),
        "the delayed set names job queued, which is queued",
        GONE,
    ),
    Damage(
        "delayed-stale",
        ("ZADD {p}d 5 done",),
        "the delayed set names job done, which is completed",
        GONE,
    ),
    Damage(
        "delayed-stale",
        ("ZADD {p}d 5 failed",),
        "the delayed set names job failed, which is failed",
        GONE,
    ),
    Damage(
        "delayed-unknown",
        ("ZADD {p}d 5 nobody",),
        "the delayed set names job nobody, which has no record",
        GONE,
    ),
    Damage(
        "letter-unlisted",
        ("ZREM {p}x failed",),
        "job failed is a dead letter, and the list of them does not know it",
        ADDED,
    ),
    Damage(
        "letter-lost",
        ("DEL {p}y:failed",),
        "job failed is a dead letter, and its arguments are gone",
        "marked as one that cannot be replayed",
    ),
    Damage(
        "letter-stale",
        ("ZADD {p}x 9000000000000 running",),
        "the dead letters name job running, which is running",
        GONE,
    ),
    Damage(
        "letter-stale",
        ("ZADD {p}x 9000000000000 revoked",),
        "the dead letters name job revoked, which is revoked",
        GONE,
    ),
    Damage(
        "letter-unknown",
        ("ZADD {p}x 9000000000000 nobody",),
        "the dead letters name job nobody, which has no record",
        GONE,
    ),
    Damage(
        "payload-forever",
        ("PERSIST {p}y:failed",),
        "the arguments of dead letter failed never expire",
        EXPIRES,
    ),
    Damage(
        "payload-stale",
        ("SET {p}y:running <running>",),
        "there are spare arguments of job running, which is running",
        GONE,
    ),
    Damage(
        "payload-stale",
        ("SET {p}y:done <done>",),
        "there are spare arguments of job done, which is completed",
        GONE,
    ),
    Damage(
        "payload-unknown",
        ("SET {p}y:nobody <nobody>",),
        "there are arguments of job nobody, which has no record",
        GONE,
    ),
    Damage(
        "value-unknown",
        ("SET {p}v:nobody R PX 999999",),
        "there is a result or error of job nobody, which has no record",
        GONE,
    ),
    Damage(
        "value-forever",
        ("SET {p}v:done R",),
        "the result or error of job done never expires",
        EXPIRES,
    ),
    Damage(
        "live-expires",
        ("PEXPIRE {p}j:delayed 999999",),
        "the record of job delayed, which has not ended, expires",
        STAYS,
    ),
    Damage(
        "ended-forever",
        ("PERSIST {p}j:done",),
        "the record of job done, which has ended, never expires",
        EXPIRES,
    ),
    Damage(
        "ended-forever",
        ("PERSIST {p}j:failed",),
        "the record of job failed, which has ended, never expires",
        EXPIRES,
    ),
    Damage(
        "entry-strange",
        ("XADD {s} 9999999999999-1 a b",),
        "the entry default:5 9999999999999-1 is no job",
        GONE,
    ),
    Damage(
        "entry-unknown",
        ("XADD {s} 9999999999999-1 j nobody p x",),
        "the entry default:5 9999999999999-1 is of job nobody, which has no record",
        GONE,
    ),
    Damage(
        "entry-stale",
        ("XADD {s} 9999999999999-1 j queued p x",),
        "the entry default:5 9999999999999-1 is of job queued, whose record names another place",
        GONE,
    ),
    Damage(
        "entry-stale",
        ("XADD {s} 9999999999999-1 j done p x",),
        "the entry default:5 9999999999999-1 is of job done, whose record names another place",
        GONE,
    ),
    Damage(
        "entry-stale",
        (
            "XDEL {s} {queued}",
            "XADD {p}s:default:7 9999999999999-1 j queued p <queued>",
            "SADD {p}l default:7",
        ),
        "the entry default:7 9999999999999-1 is of job queued, whose record names another place",
        KEPT,
        ("queued-lost",),
    ),
    Damage(
        "entry-stale",
        ("DEL {p}y:delayed", "XADD {s} 9999999999999-1 j delayed p <delayed>"),
        "the entry default:5 9999999999999-1 is of job delayed, whose record names another place",
        KEPT,
        ("delayed-lost",),
    ),
    Damage(
        "entry-stale",
        ("HSET {p}j:queued k 2",),
        "the entry default:5 {queued} is of job queued, whose record names another place",
        KEPT,
        ("queued-lost",),
    ),
    Damage(
        "lane-unlisted",
        ("SREM {p}l default:5",),
        "lane default:5 holds jobs, and workers do not look into it",
        ADDED,
    ),
    Damage(
        "lane-gone",
        ("SADD {p}l ghost:5",),
        "lane ghost:5 is listed as filled, and does not exist",
        GONE,
    ),
    Damage(
        "lane-empty",
        ("XGROUP CREATE {p}s:ghost:5 w 0 MKSTREAM", "SADD {p}ss ghost:5"),
        "lane ghost:5 is empty, and nobody reads it",
        GONE,
    ),
    Damage(
        "group-unlisted",
        ("SREM {p}ss default:5",),
        "lane default:5 has readers, and is not listed for taking over from them",
        ADDED,
    ),
    Damage(
        "group-gone",
        ("SADD {p}ss ghost:5",),
        "lane ghost:5 is listed as one with readers, and has none",
        GONE,
    ),
    Damage(
        "lock-left",
        ("SET {p}un:k ghost",),
        "the unique key un:k is held by job ghost, which has ended or does not know",
        GONE,
    ),
    Damage(
        "lock-left",
        ("SET {p}un:k done",),
        "the unique key un:k is held by job done, which has ended or does not know",
        GONE,
    ),
    Damage(
        "lock-left",
        ("SET {p}un:k queued",),
        "the unique key un:k is held by job queued, which has ended or does not know",
        GONE,
    ),
    Damage(
        "epoch-left",
        ("HSET {p}e ghost 3",),
        "a lost reply of worker ghost is noted, which has no lease",
        GONE,
    ),
    Damage(
        "revokes-left",
        ("SADD {p}cx:ghost 1-1", "PEXPIRE {p}cx:ghost 999999"),
        "revokes are kept in cx:ghost for a worker that has no lease",
        GONE,
    ),
    Damage(
        "bell-full",
        ("DEL {p}b:default", "RPUSH {p}b:default x x x x x x x x x x x x x x x x x x x x"),
        "the doorbell b:default has 20 tokens, more than 16",
        "cut to 16",
    ),
    Damage("key-expires", ("PEXPIRE {p}lw 999999",), "the key lw expires, and must not", STAYS),
    Damage(
        "key-forever",
        ("PERSIST {p}sv:default",),
        "the key sv:default never expires, and must",
        EXPIRES,
    ),
]


def identify(damage: object) -> str:
    return damage.code if isinstance(damage, Damage) else ""


def everything(place: Place) -> tuple[State, set[str]]:
    """Return all that is stored, and what of it expires."""
    return place.dump(), set(place.expiring())


def states(place: Place) -> dict[str, str]:
    return {
        name[2:]: value["state"] for name, value in place.dump().items() if name.startswith("j:")
    }


@pytest.mark.parametrize("damage", DAMAGES, ids=identify)
async def test_damage_is_found_and_nothing_is_touched(busy: Place, damage: Damage) -> None:
    names = names_in(busy)
    for command in damage.commands:
        break_(busy, command)
    before = everything(busy)
    report = await examine(busy)
    assert damage.text.format(**names) in texts(report)
    assert {finding.code for finding in report.findings} == {damage.code, *damage.others}
    assert report.unmended == report.findings
    assert everything(busy) == before


@pytest.mark.parametrize("damage", DAMAGES, ids=identify)
async def test_damage_is_mended_and_no_job_is_lost(busy: Place, damage: Damage) -> None:
    names, before = names_in(busy), states(busy)
    for command in damage.commands:
        break_(busy, command)
    report = await examine(busy, repair=True)
    [found] = [each for each in report.findings if each.text == damage.text.format(**names)]
    assert found.remedy == damage.remedy
    assert report.unmended == []
    assert (await examine(busy, repair=True)).findings == []
    assert busy.problems() == []
    lost = [name for name, state in states(busy).items() if state == "failed" != before[name]]
    assert len(lost) == (damage.remedy is LOST)
    run_all(busy)
    ends = {"done": "completed", "failed": "failed", "revoked": "revoked", "delayed": "delayed"}
    expected = (
        ends | dict.fromkeys(("queued", "running"), "completed") | dict.fromkeys(lost, "failed")
    )
    assert states(busy) == expected
    busy.is_sound = True


def run_all(place: Place) -> None:
    """Let w1 end what it has, and another worker what is queued."""
    if place.admin("ZSCORE", place.keys.leases, "w1") is not None:
        held = place.dump()["j:running"]["state"] == "running"
        ending = scripts.Settlement(b"running", place.token("running"), "c", HOUR, b"R")
        assert settle(place, ending) == "K" if held else "S"
    register(place, "w9")
    beat(place, "w9")
    lanes = ["default:7", "default:5", "default:z"]
    for delivery in fetch(place, worker="w9", lanes=lanes).deliveries:
        assert delivery.payload == f"<{delivery.job_id.decode()}>".encode()
        assert settle(place, outcome(delivery, "c", HOUR, b"R")) == "K"


async def test_a_sound_place_has_no_findings_and_is_counted(busy: Place) -> None:
    report = await examine(busy)
    assert report.findings == []
    assert (report.jobs, report.delayed, report.dead_letters) == (6, 1, 1)
    assert (report.waiting, report.held) == ({"default:5": 1}, {"default:5": 1})
    break_(busy, "ZADD {p}lw 1 w1")
    assert (report.overdue, (await examine(busy)).overdue) == (0, 1)
    busy.is_sound = True


async def test_an_empty_place_is_sound(place: Place) -> None:
    assert await examine(place, repair=True) == Report()


async def test_only_the_keys_of_the_app_are_looked_at(busy: Place) -> None:
    """Its name may hold what means something else in a pattern."""
    for name in ("te?t", "*", "[a-z]est", "t\\est"):
        async with broker_on(busy) as broker:
            broker.keys = Keys(name)
            assert await fsck.Examiner(broker, repair=True).examine() == Report()
    busy.is_sound = True


@pytest.mark.parametrize("job_id", ["a b", "a\nb", "{0}", "ä*[", "j:y:v:"])
async def test_a_job_may_have_any_id(place: Place, job_id: str) -> None:
    enqueue(place, new_job(job_id), new_job(f"{job_id} later", due="+60000"))
    place.is_sound = "\n" not in job_id  # that is what the tests' own check cannot read
    place.admin("ZREM", f"{place.prefix}d", f"{job_id} later")
    report = await examine(place, repair=True)
    assert [(each.code, each.name) for each in report.findings] == [
        ("delayed-unlisted", f"{job_id} later")
    ]


async def test_a_job_is_never_taken_from_a_worker_that_lives(busy: Place) -> None:
    """It has the payload in its memory, and may end the job."""
    token = busy.token("running")
    break_(busy, "XACK {s} w {running}")
    break_(busy, "XDEL {s} {running}")
    report = await examine(busy, repair=True)
    [left] = report.unmended
    assert left.text == "job running is running, and its entry is gone; its worker is w1"
    assert (
        left.remedy == "left to its worker, which may still end it; look again when that has left"
    )
    assert settle(busy, scripts.Settlement(b"running", token, "c", HOUR, b"R")) == "K"
    assert (await examine(busy)).findings == []
    busy.is_sound = True


@pytest.mark.parametrize(
    "commands",
    [
        ("XACK {s} w {running}", "XDEL {s} {running}", "ZREM {p}lw w1"),
        ("XGROUP DELCONSUMER {s} w w1", "ZREM {p}lw w1"),
    ],
)
async def test_a_lost_job_that_was_revoked_ends_as_revoked(
    busy: Place, commands: tuple[str, ...]
) -> None:
    assert revoke(busy, "running") == [True]
    for command in commands:
        break_(busy, command)
    report = await examine(busy, repair=True)
    assert "ended as REVOKED, as somebody had asked" in {each.remedy for each in report.findings}
    assert states(busy)["running"] == "revoked"
    assert (await examine(busy)).findings == []
    busy.is_sound = True


async def test_a_job_that_cannot_be_run_any_more_says_why(busy: Place) -> None:
    break_(busy, "XDEL {s} {queued}")
    break_(busy, "DEL {p}y:failed")
    await examine(busy, repair=True)
    call = letters.letters(busy.prefix, after="", since="", task="", queue="", full=True, most=250)
    found = {each.id: each for each in map(letters.value_of, busy.run(call).letters)}
    assert found.keys() == {"queued", "failed"}
    assert (found["queued"].reason, found["queued"].args) == ("payload lost", None)
    assert found["queued"].error.exc_message.startswith("its arguments are gone from the server")
    assert found["failed"].args is None
    assert busy.run(letters.replay(busy.prefix, nonce="n", job_ids=["queued", "failed"])) == "ff"
    busy.is_sound = True


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("SET {p}nonsense 1", "the key nonsense, a string, is in no table"),
        ("HSET {p}q:1 a b", "the key q:1, a hash, is in no table"),
        ("HSET {p}j:queued s ?", "the record of job queued has a state that nobody knows: ?"),
        ("HDEL {p}j:queued s", "the record of job queued has a state that nobody knows: none"),
        ("SET {p}j:text 1", "the key j:text is of the wrong type: string, not hash"),
        ("SET {p}cx:w1 1 PX 99999", "the key cx:w1 is of the wrong type: string, not set"),
    ],
)
async def test_what_a_newer_release_may_have_written_is_left_alone(
    busy: Place, command: str, text: str
) -> None:
    break_(busy, command)
    before = busy.snapshot().keys()
    report = await examine(busy, repair=True)
    [finding] = report.findings
    assert finding.text == text
    assert finding.remedy.startswith("left alone: a newer release may have written it")
    assert busy.snapshot().keys() == before


async def test_where_an_index_is_no_index_the_rest_is_not_checked(busy: Place) -> None:
    break_(busy, "DEL {p}d")
    break_(busy, "SET {p}d text")
    report = await examine(busy, repair=True)
    assert not report.is_complete
    assert texts(report) == ["the key d is of the wrong type: string, not zset"]


async def test_a_doorbell_of_an_empty_system_is_removed(place: Place) -> None:
    place.admin("RPUSH", place.keys.bell("default"), "")
    report = await examine(place, repair=True)
    assert texts(report) == [
        "the doorbell b:default has tokens, and there is neither a job nor a worker"
    ]
    assert place.snapshot() == {}


@pytest.mark.parametrize(
    "command",
    ["ZREM {p}d delayed", "SREM {p}l default:5", "XGROUP SETID {s} w $", "DEL {p}y:delayed"],
)
async def test_a_full_server_can_be_mended(busy: Place, command: str) -> None:
    break_(busy, command)
    busy.admin("CONFIG", "SET", "maxmemory", 1)
    try:
        report = await examine(busy, repair=True)
    finally:
        busy.admin("CONFIG", "SET", "maxmemory", 0)
    assert len(report.findings) == 1
    assert report.unmended == []
    busy.is_sound = True


async def test_nothing_is_counted_against_a_job_that_is_given_back(busy: Place) -> None:
    break_(busy, "ZREM {p}lw w1")
    await examine(busy, repair=True)
    given_back = busy.dump()["j:running"]
    assert (given_back["state"], given_back["ended"]) == ("queued", 1)
    assert not given_back.keys() & {"crashes", "retries", "worker", "started"}
    busy.is_sound = True


async def test_a_job_that_is_queued_again_keeps_the_time_of_its_enqueue(busy: Place) -> None:
    before = busy.dump()["j:queued"]["enqueued"]
    await eventually(lambda: int(busy.admin("TIME")[0]) * 1000 > before)
    break_(busy, "XGROUP SETID {s} w $")
    await examine(busy, repair=True)
    assert busy.dump()["j:queued"]["enqueued"] == before
    busy.is_sound = True


async def test_a_lane_that_a_repair_has_emptied_is_removed(place: Place) -> None:
    register(place, "w1")
    enqueue(place, new_job("a", lane="mail:5"))
    fetch(place, lanes=["mail:5"])
    revoke(place, "a")
    place.admin("XGROUP", "DELCONSUMER", f"{place.prefix}s:mail:5", "w", "w1")
    place.admin("ZREM", place.keys.leases, "w1")
    place.admin("DEL", f"{place.prefix}cx:w1")
    report = await examine(place, repair=True)
    assert [finding.did for finding in report.findings] == ["revoked"]
    assert place.dump().keys() == {"j:a", "t"}


async def test_the_documented_rights_are_enough(busy: Place) -> None:
    for command in ("ZREM {p}d delayed", "SREM {p}l default:5", "XGROUP DELCONSUMER {s} w w1"):
        break_(busy, command)
    break_(busy, "DEL {p}w:w1")  # a presence that no worker has written
    with acting_as(busy.url, rights.DOCTOR) as url:
        async with broker_on(busy, url=url) as broker:
            report = await fsck.Examiner(broker, repair=True).examine()
            assert await inspect.workers(broker) == []
            assert (await server.read(broker)).policy == "noeviction"
    assert len(report.findings) == 3
    assert report.unmended == []
    busy.is_sound = True


async def test_more_than_one_call_takes(place: Place) -> None:
    """Entries, jobs and members of an index, each in several slices."""
    place.is_sound = False
    for start in range(0, 700, 100):
        ids = [f"{number:03}" for number in range(start, start + 100)]
        enqueue(place, *(new_job(f"q{each}") for each in ids))
        enqueue(place, *(new_job(f"d{each}", due="+60000") for each in ids))
    register(place, "w1")
    fetch(place, room=250)
    place.admin("DEL", f"{place.prefix}d")
    place.admin("ZADD", f"{place.prefix}d", *(word for n in range(300) for word in (n, f"gone{n}")))
    place.admin("ZREM", place.keys.leases, "w1")
    for number in range(400):
        place.admin("XADD", f"{place.prefix}s:default:5", "*", "j", f"stray{number}", "p", "x")
    counts: dict[str, int] = {}
    report = await examine(place, repair=True)
    for finding in report.findings:
        counts[finding.code] = counts.get(finding.code, 0) + 1
    assert counts == {
        "delayed-unlisted": 700,
        "delayed-unknown": 300,
        "worker-unleased": 1,
        "entry-unknown": 400,
    }
    assert report.unmended == []
    assert (await examine(place)).findings == []
    assert report.jobs == 1400
    place.is_sound = True


async def test_a_call_ends_early_where_the_payloads_are_large(place: Place) -> None:
    """What a script reads is copied, and a copy takes time too."""
    large = b"x" * 400_000
    enqueue(place, *(new_job(f"job{number}", payload=large) for number in range(9)))
    slice_ = place.run(fsck.lane(place.prefix, repair=False, lane="default:5", after="", most=100))
    assert slice_.after == place.token("job2").decode()
    checked, findings = place.run(
        fsck.jobs(
            place.prefix,
            repair=False,
            dead_ms=1,
            dead_max=1,
            lost=b"",
            job_ids=[f"job{number}" for number in range(9)],
        )
    )
    assert (checked, findings) == (3, [])
    assert (await examine(place)).findings == []


async def lively(self: Context, number: int) -> int:
    """Take one of the ways that a job can take."""
    if number % 7 == 0:
        self.retry(exc=ValueError("again"), countdown=0.002)
    if number % 7 == 1 and self.request.deliveries < 3:
        self.snooze(0.001)
    if number % 7 == 2:
        self.reject("never")
    if number % 7 == 3:
        await asyncio.sleep(0.002)
        await self.progress(1, 2)
    return number


def lively_app(place: Place) -> Aioq:
    made = Aioq(place.url, name="test")
    made.task(bind=True, name="lively", max_retries=1)(lively)
    return made


async def test_a_place_at_work_is_never_called_damaged(place: Place) -> None:
    """While jobs of all kinds go by, and workers come and go; nor is anything mended."""
    app, names, over = lively_app(place), [(number,) for number in range(42)], asyncio.Event()

    async def produce() -> None:
        for round_ in range(8):
            jobs = await app.tasks["lively"].enqueue_many(names)
            for number in range(7):
                await app.tasks["lively"].options(countdown=0.005).enqueue(number)
            await jobs[round_].revoke()
            await jobs[-1 - round_].revoke(terminate=True)
            await app.dead_letters.replay_all()
        over.set()

    async def come_and_go() -> None:
        while not over.is_set():
            async with running(lively_app(place), url=place.url, concurrency=5) as worker:
                await worker.run_until_idle()

    async with broker_on(place) as broker, running(app, url=place.url, concurrency=10) as worker:
        others = asyncio.gather(produce(), come_and_go())
        while not over.is_set():
            for repair in (False, True):
                report = await fsck.Examiner(broker, repair=repair).examine()
                assert (report.findings, report.is_complete) == ([], True)
        await others
        await worker.run_until_idle()
