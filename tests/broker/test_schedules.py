"""schedules/*.lua: each occurrence is one job, whoever fires it, and however often."""

from collections.abc import Generator
from contextlib import contextmanager

import pytest

from aioq.broker import schedules
from aioq.broker.schedules import Change, Due, DueSchedule, Fire, Read, Reconciled
from aioq.core.errors import BrokerFull
from aioq.core.recurring import version_of
from tests.broker.calls import deliver, enqueue, fetch, outcome, settle
from tests.broker.clock import Clock
from tests.broker.place import CURRENT, START, Place, new_job, record, without

pytestmark = pytest.mark.broker

MINUTE = 60_000
STORED = {
    "cr": {"x": "m:a\nrule"},
    "cz": {"x": START + MINUTE},
    "cs": {"m:a": str(START)},
}
"""A schedule of the source m:a, that is due in a minute."""


def bring(place: Place, *changes: Change, source: str = "m:a", version: int = START) -> Reconciled:
    call = schedules.reconcile(place.prefix, source=source, version=version, changes=changes)
    return place.run(call)


def of(
    name: str = "x",
    rule: str = "rule",
    *,
    source: str = "m:a",
    at: int = START + MINUTE,
    keep: str = "",
) -> Change:
    kept = version_of(f"{source}\n{keep}".encode()) if keep else ""
    return Change(name, f"{source}\n{rule}".encode(), at, kept)


def gone(name: str) -> Change:
    return Change(name, b"", 0, "")


def fire(
    name: str = "x",
    *,
    rule: str = "rule",
    source: str = "m:a",
    at: int = START + MINUTE,
    after: int = START + 2 * MINUTE,
    op: str = "f",
    job_id: str = "",
    lane: str = "default:5",
    due: str = "",
    expires: str = "",
) -> Fire:
    version = version_of(f"{source}\n{rule}".encode())
    job_id = job_id or f"cron:{name}:{at}"
    return Fire(name, version, at, after, op, job_id, lane, "add", due, expires, b"payload")


def send(place: Place, *fires: Fire) -> str:
    return place.run(schedules.fire(place.prefix, count=len(fires), fires=fires))


def due(place: Place, most: int = 250) -> Due:
    return place.run(schedules.due(place.prefix, most=most))


def change(place: Place, op: str, name: str = "x", *, rule: str = "rule", at: int = 0) -> bool:
    version = version_of(f"m:a\n{rule}".encode())
    call = schedules.change(place.prefix, name=name, op=op, version=version, next_ms=at)
    return place.run(call)


def read(place: Place, name: str = "x") -> Read:
    return place.run(schedules.read(place.prefix, name=name, most=-1))


def history(place: Place, name: str = "x") -> list[str]:
    return [line.decode() for line in read(place, name).history]


@contextmanager
def listening(place: Place) -> Generator[list[int]]:
    """Count the news that are told meanwhile."""
    told = [0]
    before = _published(place)
    yield told
    told[0] = _published(place) - before


def _published(place: Place) -> int:
    stats: bytes = place.admin("INFO", "commandstats")
    for line in stats.decode().splitlines():
        if line.startswith("cmdstat_publish:"):
            return int(line.partition("calls=")[2].partition(",")[0])
    return 0


# What is due.


def test_nothing_is_due_where_there_are_no_schedules(place: Place, clock: Clock) -> None:
    assert due(place) == (START, 0, [], False)
    assert place.dump() == {}


def test_a_schedule_is_due_at_its_time_and_not_before(place: Place, clock: Clock) -> None:
    bring(place, of("x"), of("y", at=START + 2 * MINUTE))
    assert due(place) == (START, START + MINUTE, [], False)
    clock.advance(MINUTE - 1)
    assert due(place).schedules == []
    clock.advance(1)
    assert due(place) == (
        clock.now_ms,
        START + 2 * MINUTE,
        [DueSchedule("x", START + MINUTE, b"m:a\nrule")],
        False,
    )


def test_who_has_brought_schedules_is_told_that_the_server_has_lost_them(
    place: Place, clock: Clock
) -> None:
    def is_forgotten(source: str) -> bool:
        return place.run(schedules.due(place.prefix, most=1, source=source)).has_forgotten

    bring(place, of())
    assert not is_forgotten("m:a")
    change(place, schedules.REMOVE)
    assert not is_forgotten("m:a"), "somebody has removed it: that is no loss"
    place.admin("DEL", f"{place.prefix}cs")
    assert is_forgotten("m:a")
    assert not is_forgotten("")


def test_more_than_a_call_takes_is_due_at_once(place: Place, clock: Clock) -> None:
    bring(place, *(of(name, at=START + n) for n, name in enumerate("abcde")))
    clock.advance(100)
    found = due(place, most=2)
    assert [each.name for each in found.schedules] == ["a", "b"]
    assert found.next_ms == clock.now_ms


def test_a_call_ends_behind_a_megabyte_of_definitions(place: Place, clock: Clock) -> None:
    bring(place, *(of(name, "r" * 600_000, at=START + n) for n, name in enumerate("abc")))
    clock.advance(100)
    found = due(place)
    assert [each.name for each in found.schedules] == ["a", "b"]
    assert found.next_ms == clock.now_ms


# Firing.


def test_an_occurrence_becomes_a_job_and_the_schedule_moves_on(place: Place, clock: Clock) -> None:
    bring(place, of())
    clock.advance(MINUTE + 5)
    assert send(place, fire()) == "K"
    job_id = f"cron:x:{START + MINUTE}"
    assert without(place.dump(), "cr", "cs") == {
        "cz": {"x": START + 2 * MINUTE},
        "cl": {"x": job_id},
        "ch:x": 1,
        f"j:{job_id}": record("queued", enqueued=START + MINUTE + 5, token=CURRENT),
        "s:default:5": [(job_id, b"payload", None)],
        "l": {"default:5"},
        "b:default": 1,
    }
    assert history(place) == [f"f {START + MINUTE} {START + MINUTE + 5} {job_id}"]


def test_who_comes_second_has_come_in_vain(place: Place, clock: Clock) -> None:
    """And so has the same call that is sent again, its reply having been lost (G8)."""
    bring(place, of())
    clock.advance(MINUTE)
    assert send(place, fire()) == "K"
    before = place.dump()
    assert send(place, fire()) == "L"
    assert send(place, fire(after=START + 9 * MINUTE)) == "L"
    assert place.dump() == before


def test_a_fire_that_is_sent_again_after_its_job_has_ended_makes_no_second_one(
    place: Place, clock: Clock
) -> None:
    bring(place, of())
    clock.advance(MINUTE)
    send(place, fire())
    [delivery] = deliver(place)
    assert settle(place, outcome(delivery, "c", 3_600_000, b"r")) == "K"
    assert send(place, fire()) == "L"
    assert deliver(place) == []


def test_even_where_the_clock_was_put_back_an_occurrence_is_one_job(
    place: Place, clock: Clock
) -> None:
    bring(place, of())
    clock.advance(MINUTE)
    send(place, fire())
    place.admin("ZADD", f"{place.prefix}cz", START + MINUTE, "x")
    assert send(place, fire()) == "K"
    assert len(place.dump()["s:default:5"]) == 1


def test_several_occurrences_of_one_schedule_go_in_one_call(place: Place, clock: Clock) -> None:
    bring(place, of())
    clock.advance(3 * MINUTE)
    chain = [fire(at=START + n * MINUTE, after=START + (n + 1) * MINUTE) for n in (1, 2, 3)]
    assert send(place, *chain[:1]) == "K"
    assert send(place, *chain) == "LKK"
    assert len(place.dump()["s:default:5"]) == 3
    assert place.dump()["cz"] == {"x": START + 4 * MINUTE}


def test_an_occurrence_whose_unique_key_is_held_makes_no_job_and_is_noted(
    place: Place, clock: Clock
) -> None:
    lane = "default:5 u:dr::add:k"
    bring(place, of())
    enqueue(place, new_job("holder", lane=lane))
    clock.advance(MINUTE)

    assert send(place, fire(lane=lane)) == "O"
    assert send(place, fire(lane=lane, op="n", job_id="by-hand")) == "O holder"

    dump = place.dump()
    assert {name for name in dump if name.startswith("j:")} == {"j:holder"}
    at = START + MINUTE
    assert history(place) == [f"o {at} {at} holder"] * 2
    assert dump["cz"] == {"x": START + 2 * MINUTE}
    assert send(place, fire(lane=lane)) == "L"


def test_a_definition_that_has_changed_is_not_fired(place: Place, clock: Clock) -> None:
    bring(place, of())
    clock.advance(MINUTE)
    bring(place, of(rule="other", keep="rule"))
    assert send(place, fire()) == "L"
    assert send(place, fire(rule="other")) == "K"


def test_what_is_paused_or_gone_is_not_fired(place: Place, clock: Clock) -> None:
    bring(place, of("x"), of("y"))
    change(place, schedules.PAUSE, "x")
    change(place, schedules.REMOVE, "y")
    clock.advance(MINUTE)
    before = place.dump()
    assert send(place, fire("x"), fire("y"), fire("nobody")) == "LLL"
    assert place.dump() == before


def test_a_missed_occurrence_makes_no_job_and_is_noted(place: Place, clock: Clock) -> None:
    bring(place, of())
    clock.advance(9 * MINUTE)
    assert send(place, fire(op="m", after=START + 8 * MINUTE)) == "K"
    assert place.dump()["cz"] == {"x": START + 8 * MINUTE}
    assert "s:default:5" not in place.dump()
    assert history(place) == [f"m {START + MINUTE} {clock.now_ms} {START + 8 * MINUTE}"]


def test_a_job_can_be_delayed_and_expire_and_have_its_lane(place: Place, clock: Clock) -> None:
    bring(place, of())
    clock.advance(MINUTE)
    assert send(place, fire(lane="mail:9", due=str(clock.now_ms + 70), expires="+5000")) == "K"
    [job] = [value for name, value in place.dump().items() if name.startswith("j:")]
    assert job == record(
        "delayed",
        lane="mail:9",
        enqueued=clock.now_ms,
        due=clock.now_ms + 70,
        expires=clock.now_ms + 5000,
    )


def test_where_none_may_overlap_an_occurrence_passes_while_a_job_goes_on(
    place: Place, clock: Clock
) -> None:
    first, second, third = START + MINUTE, START + 2 * MINUTE, START + 3 * MINUTE
    bring(place, of())
    clock.advance(MINUTE)
    assert send(place, fire(op="s")) == "K"
    [delivery] = deliver(place)
    clock.advance(MINUTE)
    assert send(place, fire(op="s", at=second, after=third)) == "O"
    assert history(place)[0] == f"o {second} {clock.now_ms} cron:x:{first}"
    assert place.dump()["cz"] == {"x": third}
    settle(place, outcome(delivery, "c", 0))
    clock.advance(MINUTE)
    assert send(place, fire(op="s", at=third, after=third + MINUTE)) == "K"
    assert place.dump()["cl"] == {"x": f"cron:x:{third}"}


def test_a_job_made_by_hand_counts_too_where_none_may_overlap(place: Place, clock: Clock) -> None:
    bring(place, of())
    assert send(place, fire(op="n", job_id="cron:x:now:1")) == "K"
    clock.advance(MINUTE)
    assert send(place, fire(op="s")) == "O"


def test_a_job_made_by_hand_does_not_hide_one_that_goes_on(place: Place, clock: Clock) -> None:
    bring(place, of())
    clock.advance(MINUTE)
    send(place, fire(op="s"))
    send(place, fire(op="n", job_id="cron:x:now:1"))
    [_, by_hand] = deliver(place)
    settle(place, outcome(by_hand, "c", 0))
    assert send(place, fire(op="s", at=START + 2 * MINUTE, after=START + 3 * MINUTE)) == "O"


def test_a_job_by_hand_leaves_the_times_alone_and_needs_none(place: Place, clock: Clock) -> None:
    bring(place, of())
    change(place, schedules.PAUSE)
    by_hand = fire(op="n", job_id="cron:x:now:1")
    assert send(place, by_hand) == "K"
    before = place.dump()
    assert send(place, by_hand) == "K", "sent again, it makes nothing new"
    assert place.dump() == before
    assert history(place) == [f"n {START} {START} cron:x:now:1"]
    assert len(before["s:default:5"]) == 1
    assert "cz" not in before
    assert send(place, fire(op="n", rule="old", job_id="cron:x:now:2")) == "L"


def test_a_history_has_a_hundred_lines(place: Place, clock: Clock) -> None:
    bring(place, of())
    clock.advance(200 * MINUTE)
    for n in range(1, 121):
        step = fire(op="m", at=START + n * MINUTE, after=START + (n + 1) * MINUTE)
        assert send(place, step) == "K"
    assert len(history(place)) == 100
    assert history(place)[0].startswith(f"m {START + 120 * MINUTE} ")


@pytest.mark.parametrize(
    "wrong", [{"op": "?"}, {"op": "ff"}, {"at": "soon"}, {"after": ""}], ids=str
)
def test_a_call_that_makes_no_sense_writes_nothing(
    place: Place, clock: Clock, wrong: dict[str, str]
) -> None:
    bring(place, of())
    clock.advance(MINUTE)
    before = place.dump()
    with pytest.raises(Exception, match="fire of schedule x"):
        send(place, fire(), fire(**wrong))  # pyright: ignore[reportArgumentType]
    assert place.dump() == before


def test_jobs_that_must_not_overlap_wait_for_each_other_in_order(
    place: Place, clock: Clock
) -> None:
    bring(place, of())
    clock.advance(2 * MINUTE)
    lane = "default:5 o:x"
    send(
        place,
        fire(lane=lane),
        fire(lane=lane, at=START + 2 * MINUTE, after=START + 3 * MINUTE),
    )
    [first] = deliver(place)
    assert first.job_id == f"cron:x:{START + MINUTE}".encode()
    assert fetch(place).deliveries == []
    settle(place, outcome(first, "c", 0))
    [second] = fetch(place).deliveries
    assert second.job_id == f"cron:x:{START + 2 * MINUTE}".encode()
    settle(place, outcome(second, "c", 0))


# What belongs to whom.


def test_a_source_brings_its_schedules(place: Place, clock: Clock) -> None:
    with listening(place) as told:
        assert bring(place, of()) == (False, {})
    assert place.dump() == STORED
    assert told == [1]


def test_what_is_as_it_was_is_not_touched(place: Place, clock: Clock) -> None:
    bring(place, of())
    with listening(place) as told:
        bring(place, of(at=START + 9 * MINUTE))
    assert place.dump() == STORED
    assert told == [0]


def test_what_has_changed_is_due_anew_unless_it_keeps_its_pace(place: Place, clock: Clock) -> None:
    bring(place, of())
    bring(place, of(rule="kept", at=START + 9 * MINUTE, keep="rule"))
    assert place.dump() == STORED | {"cr": {"x": "m:a\nkept"}}
    bring(place, of(rule="new", at=START + 9 * MINUTE))
    assert place.dump() == STORED | {"cr": {"x": "m:a\nnew"}, "cz": {"x": START + 9 * MINUTE}}


def test_no_pace_is_kept_of_a_definition_that_came_meanwhile(place: Place, clock: Clock) -> None:
    """Else two who write one schedule at once leave the rule of one and the time of the other."""
    bring(place, of())
    bring(place, of(rule="faster", at=START + 1))
    bring(place, of(rule="kept", at=START + 9 * MINUTE, keep="rule"))
    assert place.dump()["cz"] == {"x": START + 9 * MINUTE}


def test_what_a_source_does_not_have_any_more_is_gone_with_all_that_is_known_of_it(
    place: Place, clock: Clock
) -> None:
    bring(place, of("x"), of("y"), of("z"))
    clock.advance(MINUTE)
    send(place, fire("y"))
    change(place, schedules.PAUSE, "z")
    bring(place, gone("y"), gone("z"), gone("nobody"))
    assert without(place.dump(), f"j:cron:y:{START + MINUTE}", "s:default:5", "l", "b:default") == (
        STORED
    )


def test_what_belongs_to_others_is_left_alone(place: Place, clock: Clock) -> None:
    bring(place, of("x"))
    bring(place, of("y", source=""), source="")
    before = place.dump()
    changes = [of("x", source="m:b"), of("y", source="m:b"), gone("x"), gone("y")]
    assert bring(place, *changes, source="m:b").strangers == {"x": "m:a", "y": ""}
    assert bring(place, of("x", source=""), source="").strangers == {"x": "m:a"}
    assert place.dump() == before | {"cs": {"m:a": str(START), "m:b": str(START)}}


def test_a_process_that_began_earlier_is_refused(place: Place, clock: Clock) -> None:
    """It runs older code: a rolling deploy must not flap."""
    clock.advance(MINUTE)
    bring(place, of(rule="new"), version=START + 10)
    before = place.dump()
    assert bring(place, of(rule="old"), gone("x"), version=START + 9).refused
    assert place.dump() == before
    assert not bring(place, of(rule="new"), version=START + 10).refused
    assert not bring(place, of(rule="newer"), version=START + 11).refused
    assert not bring(place, of("y", source="m:b"), source="m:b", version=1).refused


def test_where_the_clock_was_put_back_those_who_start_are_heard(place: Place, clock: Clock) -> None:
    bring(place, of(rule="old"), version=START + 60 * MINUTE)
    clock.advance(MINUTE)
    assert not bring(place, of(rule="new"), version=START + MINUTE).refused
    assert place.dump()["cs"] == {"m:a": str(START + MINUTE)}


def test_a_pause_outlives_a_deploy(place: Place, clock: Clock) -> None:
    bring(place, of())
    change(place, schedules.PAUSE)
    bring(place, of(rule="new"))
    assert place.dump() == {"cr": {"x": "m:a\nnew"}, "cp": {"x"}, "cs": {"m:a": str(START)}}


def test_a_schedule_that_has_lost_its_time_gets_one_from_the_next_start(
    place: Place, clock: Clock
) -> None:
    bring(place, of())
    place.admin("DEL", f"{place.prefix}cz")
    bring(place, of(keep="rule"))
    assert place.dump() == STORED


# Pause, resume, remove, look.


def test_a_pause_takes_the_next_occurrence_away_and_a_resume_brings_one(
    place: Place, clock: Clock
) -> None:
    bring(place, of())
    with listening(place) as told:
        assert change(place, schedules.PAUSE)
        assert change(place, schedules.PAUSE)
    assert told == [1]
    assert read(place) == (START, b"m:a\nrule", None, True, [])
    clock.advance(5 * MINUTE)
    assert due(place).schedules == []
    with listening(place) as told:
        assert change(place, schedules.RESUME, at=START + 6 * MINUTE)
        assert change(place, schedules.RESUME, at=START + 7 * MINUTE)
    assert told == [1]
    assert read(place) == (clock.now_ms, b"m:a\nrule", START + 6 * MINUTE, False, [])


def test_a_resume_of_what_has_changed_meanwhile_is_refused(place: Place, clock: Clock) -> None:
    bring(place, of())
    change(place, schedules.PAUSE)
    bring(place, of(rule="new"))
    assert not change(place, schedules.RESUME, at=START + 6 * MINUTE)
    assert read(place).is_paused


def test_what_nobody_knows_cannot_be_paused(place: Place, clock: Clock) -> None:
    assert not change(place, schedules.PAUSE)
    assert not change(place, schedules.RESUME)
    assert change(place, schedules.REMOVE), "it is gone, as was asked"
    assert place.dump() == {}


def test_pages_have_all_that_is_known(place: Place, clock: Clock) -> None:
    names = [f"schedule-{n}" for n in range(600)]
    bring(place, *(of(name, "r" * 70) for name in names))
    change(place, schedules.PAUSE, "schedule-7")
    clock.advance(MINUTE)
    send(place, fire("schedule-8", rule="r" * 70))
    found: dict[str, schedules.Stored] = {}
    after, pages = "0", 0
    while pages == 0 or after != "0":
        page = place.run(schedules.page(place.prefix, after=after, most=100))
        found |= {each.name: each for each in page.schedules}
        after, pages = page.after, pages + 1
    assert sorted(found) == sorted(names)
    assert pages > 3
    definition = b"m:a\n" + b"r" * 70
    assert found["schedule-6"] == ("schedule-6", definition, START + MINUTE, False, b"")
    assert found["schedule-7"] == ("schedule-7", definition, None, True, b"")
    assert found["schedule-8"].last.startswith(b"f ")


# On a full server, and after damage.


def test_a_full_server_takes_no_job_and_the_schedule_waits(place: Place, clock: Clock) -> None:
    bring(place, of("x"), of("y"))
    clock.advance(MINUTE)
    before = place.dump()
    place.admin("CONFIG", "SET", "maxmemory", 1)
    for op in "fsm":
        with pytest.raises(BrokerFull):
            send(place, fire("x", op=op), fire("y", op=op))
    with pytest.raises(BrokerFull):
        send(place, fire(op="n", job_id="cron:x:now:1"))
    assert place.dump() == before
    assert send(place, fire(rule="old")) == "L"
    place.admin("CONFIG", "SET", "maxmemory", 0)
    assert send(place, fire("x"), fire("y")) == "KK"


def test_a_full_server_lets_workers_start_and_schedules_be_paused(
    place: Place, clock: Clock
) -> None:
    bring(place, of("x"))
    place.admin("CONFIG", "SET", "maxmemory", 1)
    assert bring(place, of("x", "new"), of("y")) == (False, {})
    assert change(place, schedules.PAUSE)
    assert change(place, schedules.RESUME, rule="new", at=START + MINUTE)
    assert change(place, schedules.REMOVE, "y")
    assert due(place).now_ms == START
    place.admin("CONFIG", "SET", "maxmemory", 0)
