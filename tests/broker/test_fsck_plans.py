"""Damage around workflows is found and mended."""

from typing import NamedTuple

import pytest

from tests.broker.calls import deliver, outcome, settle
from tests.broker.place import Place
from tests.broker.test_fsck import examine, texts
from tests.broker.test_plans import ONE, chord, node, plan, state

pytestmark = pytest.mark.broker


class Damage(NamedTuple):
    """What is done to a place of sound jobs, and what comes of it."""

    code: str
    command: tuple[str, ...]
    text: str
    remedy: str
    also: tuple[str, ...] = ()


DAMAGES = [
    Damage(
        "waiting-lost",
        ("DEL", "{p}y:body"),
        "job body waits for others, and its arguments are gone",
        "made a dead letter, for it cannot be run any more",
    ),
    Damage(
        "waiting-strange",
        ("HDEL", "{p}j:body", "z"),
        "job body waits for others, and its record does not say how many",
        "made a dead letter, for it cannot be run any more",
    ),
    Damage(
        "waiting-complete",
        ("HSET", "{p}g:body", "1", "c"),
        "job body waits for others, and all of them have ended",
        "it has begun",
    ),
    Damage(
        "payload-expires",
        ("PEXPIRE", "{p}y:body", "999999"),
        "the arguments of job body, which is waiting, expire",
        "it does not expire any more",
    ),
    Damage(
        "live-expires",
        ("PEXPIRE", "{p}j:body", "999999"),
        "the record of job body, which has not ended, expires",
        "it does not expire any more",
    ),
    Damage(
        "key-expires",
        ("PEXPIRE", "{p}g:body", "999999"),
        "the key g:body expires, and must not",
        "it does not expire any more",
    ),
    Damage(
        "key-expires",
        ("PEXPIRE", "{p}gm:body", "999999"),
        "the key gm:body expires, and must not",
        "it does not expire any more",
    ),
    Damage(
        "key-forever",
        ("PERSIST", "{p}g:all"),
        "the key g:all never expires, and must",
        "it expires now",
    ),
    Damage(
        "key-forever",
        ("HSET", "{p}gx:ghost", "0", "m"),
        "the key gx:ghost never expires, and must",
        "it expires now",
    ),
    Damage(
        "key-forever",
        ("RPUSH", "{p}gd:ghost", ">m:0"),
        "the key gd:ghost never expires, and must",
        "it expires now",
    ),
]


@pytest.fixture
def busy(place: Place) -> Place:
    """A gather that has ended, a body that has one of two results, and the rest of a plan."""
    plan(place, "all", node("a", tells=">all:0"), node("all", needs=2, kind="g"))
    chord(place, 2)
    done, first, _ = deliver(place)
    settle(place, outcome(done, "c", 1000, ONE), outcome(first, "c", 1000, ONE))
    plan(place, "z", node("y", tells=">z:0"), mode="f")
    return place


async def test_workflows_at_work_are_no_damage(busy: Place) -> None:
    assert texts(await examine(busy)) == []
    assert busy.problems() == []


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda each: f"{each.code} {each.command[1][3:]}")
async def test_damage_is_found_and_mended(busy: Place, damage: Damage) -> None:
    busy.admin(*(word.replace("{p}", busy.prefix) for word in damage.command))
    assert busy.problems() != [] or damage.code == "waiting-strange"
    report = await examine(busy)
    assert [finding.code for finding in report.findings] == [damage.code]
    assert texts(report) == [damage.text]

    report = await examine(busy, repair=True)
    assert [finding.remedy for finding in report.findings] == [damage.remedy]
    assert texts(await examine(busy)) == []
    assert busy.problems() == []


async def test_what_is_mended_goes_on(busy: Place) -> None:
    busy.admin("HSET", f"{busy.prefix}g:body", "1", b"c" + ONE)
    await examine(busy, repair=True)
    assert [each.job_id for each in deliver(busy)] == [b"body"]


async def test_what_nobody_can_mend_ends_those_that_wait_for_it(place: Place) -> None:
    plan(
        place,
        "last",
        node("a", tells=">b:0"),
        node("b", needs=1, tells=">last:0"),
        node("last", needs=1),
    )
    place.admin("DEL", f"{place.prefix}y:b")
    await examine(place, repair=True)
    assert [state(place, each) for each in ("a", "b", "last")] == ["q", "f", "f"]


async def test_an_errand_that_is_none_stops_nothing(place: Place) -> None:
    place.admin("RPUSH", f"{place.prefix}gl", "nonsense", "z what 0")
    chord(place, 1)
    (member,) = deliver(place)
    settle(place, outcome(member, "c", 1000, ONE))
    assert [each.job_id for each in deliver(place)] == [b"body"]
    assert place.admin("EXISTS", f"{place.prefix}gl") == 0
