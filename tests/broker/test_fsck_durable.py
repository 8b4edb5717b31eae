"""Damage around durable jobs is found and mended."""

from typing import NamedTuple

import pytest

from tests.broker.calls import deliver, fetch
from tests.broker.place import Place, new_job
from tests.broker.test_durable import hear, note, start, suspend
from tests.broker.test_fsck import examine, texts

pytestmark = pytest.mark.broker


class Damage(NamedTuple):
    """What is done to a place of sound jobs, and what comes of it."""

    code: str
    command: tuple[str, ...]
    text: str
    remedy: str


DAMAGES = [
    Damage(
        "suspended-lost",
        ("DEL", "{p}y:waits"),
        "job waits is suspended, and its arguments are gone",
        "made a dead letter, for it cannot be run any more",
    ),
    Damage(
        "suspended-unlisted",
        ("ZREM", "{p}d", "sleeps"),
        "job sleeps is suspended, and the delayed set does not know it",
        "added",
    ),
    Damage(
        "suspended-deaf",
        ("DEL", "{p}dw:paid"),
        "job waits is suspended, and nothing would ever wake it",
        "queued again",
    ),
    Damage(
        "suspended-deaf",
        ("HDEL", "{p}j:parent.1", "w"),
        "job parent is suspended, and nothing would ever wake it",
        "queued again",
    ),
    Damage(
        "memo-left",
        ("HSET", "{p}dm:ghost", "step", "s1"),
        "the memo dm:ghost is left, and its job is gone",
        "removed",
    ),
    Damage(
        "wait-left",
        ("ZADD", "{p}dw:paid", "0", "ghost w"),
        "ghost w is listed as waiting for event paid, and does not",
        "removed",
    ),
    Damage(
        "key-expires",
        ("PEXPIRE", "{p}dm:waits", "999999"),
        "the key dm:waits expires, and must not",
        "it does not expire any more",
    ),
]


@pytest.fixture
def busy(place: Place) -> Place:
    """A job that sleeps, one that waits for an event, one for a child, and one that runs."""
    sleeps, waits, parent, runs = deliver(
        place, *(new_job(each) for each in ("sleeps", "waits", "parent", "runs"))
    )
    suspend(place, sleeps, due="+3600000")
    hear(place, waits)
    suspend(place, waits, "w")
    start(place, parent, 1)
    suspend(place, parent, "child 1")
    note(place, runs, "step", "s", b"1")
    return place


async def test_durable_jobs_at_work_are_no_damage(busy: Place) -> None:
    assert texts(await examine(busy)) == []


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda each: each.code)
async def test_damage_is_found_and_mended(busy: Place, damage: Damage) -> None:
    busy.admin(*(word.replace("{p}", busy.prefix) for word in damage.command))
    report = await examine(busy)
    assert [finding.code for finding in report.findings] == [damage.code]
    assert texts(report) == [damage.text]

    report = await examine(busy, repair=True)
    assert [finding.remedy for finding in report.findings] == [damage.remedy]
    assert texts(await examine(busy)) == []


async def test_a_job_that_is_roused_looks_again_at_what_it_waits_for(busy: Place) -> None:
    busy.admin("DEL", f"{busy.prefix}dw:paid")
    await examine(busy, repair=True)
    [roused] = [each for each in fetch(busy).deliveries if each.job_id == b"waits"]
    assert hear(busy, roused) == b"e paid"
    assert suspend(busy, roused, "w") == "K"
    assert texts(await examine(busy)) == []
