"""A checker that finds nothing proves nothing: here it is shown each thing it must find."""

from collections.abc import Callable

import pytest

from aioq.embedded import PrivateServer
from tests.broker.calls import deliver, outcome, settle
from tests.broker.place import Place, new_job
from tests.chaos import history
from tests.chaos.app import RATE, SLOTS, answer
from tests.chaos.chaos import AOF
from tests.chaos.checker import Verdict, check
from tests.chaos.evidence import Evidence, Outcome, Run, Sent
from tests.chaos.history import Change, History
from tests.chaos.limit_log import excess

QUEUED = Change("q", "1000-1", "", 1000, 1)
RUNNING = Change("r", "1000-1", "vm-7-abcd", 1000, 1)
DONE = Change("c", "", "vm-7-abcd", 1200, 1, has_ended_entry=True)
LATER = Change("q", "20000-1", "", 20000, 2, has_ended_entry=True)
RUN = Run("n1", "a", 1, "w1.1", 10.0, 10.2, "returned", 1.0)
AGAIN = Run("n1", "a", 2, "w2.1", 10.1, 10.3, "returned", 1.1)


def sound() -> Evidence:
    """One job that was enqueued, ran and succeeded."""
    known = History()
    known.changes = [QUEUED, RUNNING, DONE]
    known.fields = {"s": "c"}
    return Evidence(
        lease=2.0,
        sent={"n1": Sent("quick", 0)},
        acked={"n1": "a"},
        runs=[RUN],
        histories={"a": known},
        outcomes={"a": Outcome("SUCCESS", answer("n1"))},
        silences={"w1.1": [], "w2.1": []},
        ended={"w1.1": 99.0, "w2.1": 99.0},
        by_pid={"7": "w1.1"},
    )


def changes(evidence: Evidence, *more: Change) -> None:
    evidence.histories["a"].changes = list(more)


def runs(evidence: Evidence, *more: Run) -> None:
    evidence.runs = list(more)


def guarantees(verdict: Verdict) -> set[str]:
    return {problem.guarantee for problem in verdict.problems}


def test_a_sound_run_is_found_sound() -> None:
    assert check(sound()) == Verdict([], 0)


Damage = Callable[[Evidence], object]
DAMAGES: dict[str, list[Damage]] = {
    "lost": [
        lambda e: changes(e, QUEUED, RUNNING),
        changes,
        lambda e: e.histories.clear(),
    ],
    "wrong end": [
        lambda e: e.outcomes.update(a=Outcome("FAILURE", "builtins.KeyError")),
        lambda e: e.outcomes.update(a=Outcome("SUCCESS", answer("n2"))),
        lambda e: e.outcomes.update(a=Outcome("JobNotFound", "")),
        lambda e: runs(e, RUN._replace(how="killed")),
        lambda e: (e.sent.update(n1=Sent("revoked", 0)), e.revokes.update(n1="True")),
        lambda e: e.sent.update(n1=Sent("doomed", 0)),
    ],
    "settled twice": [lambda e: changes(e, QUEUED, RUNNING, DONE, DONE)],
    "came back": [lambda e: changes(e, QUEUED, RUNNING, DONE, QUEUED._replace(entry="1300-0"))],
    "unfenced": [
        lambda e: changes(e, QUEUED, RUNNING, DONE._replace(has_ended_entry=False)),
        lambda e: changes(e, QUEUED, RUNNING, QUEUED._replace(entry="1300-0"), RUNNING, DONE),
        lambda e: changes(
            e, QUEUED, RUNNING, QUEUED._replace(entry="900-0", has_ended_entry=True), DONE
        ),
    ],
    "enqueued twice": [lambda e: runs(e, RUN, AGAIN._replace(job_id="b", began=11.0, ended=12.0))],
    "phantom": [lambda e: runs(e, RUN, RUN._replace(n="n2", job_id="b"))],
    "started twice": [lambda e: runs(e, RUN, RUN._replace(began=11.0, ended=12.0))],
    "overlap": [
        lambda e: runs(e, RUN, AGAIN),
        lambda e: runs(e, RUN._replace(began=10.25, ended=10.4), AGAIN),
        # Frozen too shortly to lose a lease, or at another time, or somebody else.
        lambda e: (runs(e, RUN, AGAIN), e.silences.update({"w1.1": [(9.8, 10.4)]})),
        lambda e: (runs(e, RUN, AGAIN), e.silences.update({"w1.1": [(2.0, 6.0)]})),
        lambda e: (runs(e, RUN, AGAIN), e.silences.update({"w2.1": [(8.0, 12.0)]})),
        # Nor is it an excuse that the server was away.
        lambda e: (runs(e, RUN, AGAIN), e.outages.append((8.0, 10.1))),
    ],
    "needless run": [
        lambda e: runs(e, RUN, AGAIN._replace(began=11.0, ended=12.0)),
        lambda e: (
            runs(e, RUN, AGAIN._replace(began=11.0, ended=12.0)),
            e.outages.append((8.0, 10.9)),
        ),
    ],
    "stranded": [
        lambda e: (runs(e), changes(e, QUEUED, RUNNING, LATER)),
        lambda e: (
            runs(e),
            changes(e, QUEUED, RUNNING, LATER),
            e.silences.update({"w1.1": [(2.0, 6.0)]}),
        ),
    ],
    "early": [lambda e: setattr(e.histories["a"], "first_due_ms", 1500)],
    "miscounted": [
        lambda e: e.histories["a"].fields.update(e="1"),
        lambda e: e.sent.update(n1=Sent("flaky", 2)),
    ],
    "limit": [
        lambda e: e.limits.most.update({"c:slotted:": SLOTS + 1}),
        lambda e: e.limits.starts.update({"b:paced:": [(1000, 1)] * (RATE.numbers.burst + 2)}),
        lambda e: e.limits.starts.update({"b:paced:": [(n * 30, 1) for n in range(200)]}),
    ],
    "complaint": [lambda e: e.said.update({"w1.1": "12:00 CRITICAL aioq.worker  It ends."})],
    "unheard": [lambda e: e.unheard.append("n1")],
    "leak": [lambda e: e.leaks.append("y:a is left in an empty system")],
}
CASES = [
    pytest.param(guarantee, damage, id=f"{guarantee.replace(' ', '-')}-{index}")
    for guarantee, damages in DAMAGES.items()
    for index, damage in enumerate(damages)
]


@pytest.mark.parametrize(("guarantee", "damage"), CASES)
def test_each_damage_is_found(guarantee: str, damage: Damage) -> None:
    evidence = sound()
    damage(evidence)

    assert guarantee in guarantees(check(evidence))


@pytest.mark.parametrize(
    ("silences", "outages"),
    [
        ([(8.0, 10.15)], []),
        ([(9.0, 9.6)], [(9.6, 10.1)]),  # frozen for a moment, right before the server went
    ],
)
def test_a_worker_that_was_frozen_or_cut_off_may_overlap(
    silences: list[tuple[float, float]], outages: list[tuple[float, float]]
) -> None:
    evidence = sound()
    runs(evidence, RUN._replace(began=9.5), AGAIN)
    evidence.silences["w1.1"] = silences
    evidence.outages = outages

    assert check(evidence) == Verdict([], 1)


def test_what_has_returned_may_run_again_where_its_worker_died() -> None:
    evidence = sound()
    runs(evidence, RUN, AGAIN._replace(began=11.0, ended=12.0))
    evidence.ended["w1.1"] = 10.3

    assert check(evidence) == Verdict([], 0)


def test_what_a_worker_was_handed_before_it_froze_may_begin_late() -> None:
    evidence = sound()
    runs(evidence, RUN._replace(began=10.25, ended=10.4), AGAIN)
    evidence.silences["w1.1"] = [(7.0, 10.24)]

    assert check(evidence) == Verdict([], 1)


def test_the_servers_own_file_shows_an_end_that_was_not_fenced() -> None:
    evidence = sound()
    with PrivateServer(appendonly=True, arguments=AOF) as server:
        place = Place(server.url)
        deliver(place, new_job("a"))
        place.admin("HSET", f"{place.prefix}j:a", "s", "c")
        place.admin.close()
        evidence.histories = history.read(server.directory, place.prefix).histories

    assert guarantees(check(evidence)) == {"unfenced"}


def test_the_servers_own_file_shows_an_entry_that_went_before_the_end() -> None:
    evidence = sound()
    with PrivateServer(appendonly=True, arguments=AOF) as server:
        place = Place(server.url)
        (delivery,) = deliver(place, new_job("a"))
        place.admin("XACK", f"{place.prefix}s:default:5", "w", delivery.entry_id)
        place.admin("XDEL", f"{place.prefix}s:default:5", delivery.entry_id)
        place.admin("HSET", f"{place.prefix}j:a", "s", "c")
        place.admin.close()
        evidence.histories = history.read(server.directory, place.prefix).histories

    assert guarantees(check(evidence)) == {"unfenced"}


def test_the_servers_own_file_tells_the_life_of_a_job_across_a_kill() -> None:
    with PrivateServer(appendonly=True, arguments=AOF) as server:
        place = Place(server.url)
        (first,) = deliver(place, new_job("a"))
        server.kill()
        server.restart()
        place.connect()
        settle(place, outcome(first, "r", "+0", b"error"))
        (second,) = deliver(place)
        settle(place, outcome(second, "c", 3_600_000, b"result"))
        place.admin.close()
        known = history.read(server.directory, place.prefix).histories["a"]

    assert [change.state for change in known.changes] == ["q", "r", "q", "r", "c"]
    assert [change.has_ended_entry for change in known.changes] == [False, False, True, False, True]
    assert (known.fields["e"], known.fields["i"]) == ("1", "result")


def test_the_servers_own_file_tells_who_ran_at_the_same_time_and_when_each_started() -> None:
    with PrivateServer(appendonly=True, arguments=AOF) as server:
        place = Place(server.url)
        holds = (
            "default:5 b:paced: c:slotted:"  # nobody has declared them, so nothing is in the way
        )
        first, *_ = deliver(place, *(new_job(name, lane=holds) for name in "abc"))
        settle(place, outcome(first, "c", 3_600_000, b"result"))
        deliver(place, new_job("d", lane=holds), new_job("e", lane="default:5 b:paced:=4"))
        place.admin.close()
        limits = history.read(server.directory, place.prefix).limits

    assert limits.most == {"b:paced:": 4, "c:slotted:": 3}
    assert [cost for _, cost in limits.starts["b:paced:"]] == [1, 1, 1, 1, 4]
    assert sorted(limits.starts["b:paced:"]) == limits.starts["b:paced:"]


def test_the_full_rate_and_the_burst_exceed_no_limit() -> None:
    rate = RATE.numbers
    burst = [(1000, 1)] * rate.burst
    paced = [(1000 + n * rate.per_us // rate.rate // 1000, 1) for n in range(1, 500)]
    assert excess(burst + paced, rate) == ""
