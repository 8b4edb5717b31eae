"""Damage to schedules is found and mended, and sound ones are never called damaged."""

import pytest

from tests.broker.place import START, Place
from tests.broker.test_fsck import examine, texts
from tests.broker.test_schedules import MINUTE, bring, change, fire, of, read, send

pytestmark = pytest.mark.broker

GONE = "removed"
DAMAGES = [
    ("ZADD {p}cz 1 ghost", "cz names schedule ghost, which is not defined", GONE),
    ("SADD {p}cp ghost", "cp names schedule ghost, which is not defined", GONE),
    ("HSET {p}cl ghost a", "cl names schedule ghost, which is not defined", GONE),
    ("LPUSH {p}ch:ghost a", "ch names schedule ghost, which is not defined", GONE),
    ("ZADD {p}cz 1 rests", "schedule rests is paused, and is due all the same", GONE),
    (
        "ZREM {p}cz x",
        "schedule x is neither due nor paused, so nobody fires it",
        "paused; `aioq schedules resume` lets it go on",
    ),
]


@pytest.fixture
def kept(place: Place) -> Place:
    """A schedule that was fired, and one that is paused."""
    bring(place, of("x"), of("rests"))
    change(place, "p", "rests")
    send(place, fire())
    return place


@pytest.mark.parametrize(("command", "text", "remedy"), DAMAGES)
async def test_damage_is_found_and_mended(
    kept: Place, command: str, text: str, remedy: str
) -> None:
    kept.admin(*command.format(p=kept.prefix).split())
    before = kept.dump()
    assert texts(await examine(kept)) == [text]
    assert kept.dump() == before
    [found] = (await examine(kept, repair=True)).findings
    assert (found.text, found.remedy) == (text, remedy)
    assert (await examine(kept)).findings == []


async def test_sound_schedules_have_no_findings(kept: Place) -> None:
    assert (await examine(kept, repair=True)).findings == []
    assert read(kept).next_ms is not None


async def test_one_that_was_lost_goes_on_when_it_is_resumed(kept: Place) -> None:
    kept.admin("ZREM", f"{kept.prefix}cz", "x")
    await examine(kept, repair=True)
    assert read(kept).is_paused
    assert change(kept, "r", at=START + MINUTE)
    assert read(kept).next_ms == START + MINUTE
