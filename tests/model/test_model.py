"""Whatever is done in whatever order: the server holds what the model says it holds.

Each step is done on a real server and on the model, and then everything is compared.  That covers
what no single test can: nothing is lost, nothing runs twice or after its end, no retry is
counted that was not asked for, no payload is mixed up, and a zombie's word changes nothing.
"""

import asyncio
import math
import re
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from aioq.broker import broker as broker_module
from aioq.broker import scripts
from aioq.broker.broker import Broker
from aioq.broker.scripts import Delivery, Limit, NewJob, Reaped, Settlement, Update
from aioq.broker.topology import parse
from aioq.core.errors import AioqError
from tests.broker import calls as broker_calls
from tests.broker.clock import Clock
from tests.broker.fsck import place_of
from tests.broker.place import Place, dumped, new_job
from tests.model.model import Model

pytestmark = pytest.mark.broker

LANES = ["mail:9", "default:5", "default:0"]
SUSPECTS = ["default:z", "mail:z"]
WORKERS = ["w1", "w2", "w3"]
LIMITS = {"fragile": 0, "tough": math.inf}
DEAD_MAX = 2
KEEP_MS = 3_600_000
IGNORED = re.compile(r"(b|sv|w):.*|l|o|ss")
"""What follows from the rest, and is checked for itself."""
LEASE_MS = 30_000
PAUSES = st.sampled_from([0, 1, 10, 500])


@dataclass(frozen=True)
class Held:
    """A delivery as its worker remembers it, for as long as it likes."""

    job_id: str
    token: bytes

    @property
    def name(self) -> bytes:
        """Its name in a call."""
        return self.token + b" " + self.job_id.encode()


class Machine(RuleBasedStateMachine):
    """A server and its model; each rule is a step of both."""

    place: Place
    held = Bundle("held")
    calls = Bundle("calls")
    words = Bundle("words")

    @initialize()
    def start(self) -> None:
        self.place.admin("FLUSHDB")
        self.patch = pytest.MonkeyPatch()
        self.clock = Clock(self.place)
        self.patch.setattr("aioq.broker.scripts.load", Clock.load)
        self.patch.setattr(broker_module, "DEAD_LETTERS", DEAD_MAX)
        self.model = Model(self.clock.now_ms, DEAD_MAX, LIMITS)
        self.made = 0
        self.runner = asyncio.Runner()
        self.broker = self.runner.run(self._open())
        for worker in WORKERS:
            self.register(worker)

    async def _open(self) -> Broker:
        topology = parse(self.place.url, prefix=self.place.prefix)
        return Broker(topology, self.place.keys, enqueue_timeout=5)

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.runner.run(self.broker.aclose())
            self.runner.close()
            self.patch.undo()

    @rule(
        target=calls,
        count=st.integers(1, 4),
        lane=st.sampled_from(LANES),
        task=st.sampled_from(["add", "add", *LIMITS]),
        due=st.none() | PAUSES,
        expires=st.none() | PAUSES,
    )
    def enqueue(
        self, count: int, lane: str, task: str, due: int | None, expires: int | None
    ) -> list[NewJob]:
        after = {"due": _after(due), "expires": _after(expires)}
        names = [f"{self.made + n:03}" for n in range(count)]
        self.made += count
        jobs = [new_job(name, lane=lane, task=task, **after) for name in names]
        self._enqueue(jobs)
        return jobs

    @rule(
        target=calls,
        job_id=st.sampled_from(["mine", "yours"]),
        nonce=st.sampled_from(["n1", "n2"]),
        lane=st.sampled_from(LANES),
        due=st.none() | PAUSES,
    )
    def enqueue_by_id(self, job_id: str, nonce: str, lane: str, due: int | None) -> list[NewJob]:
        payload = f"{job_id} of {nonce} in {lane}".encode()
        jobs = [new_job(job_id, nonce=nonce, lane=lane, due=_after(due), payload=payload)]
        self._enqueue(jobs)
        return jobs

    @rule(jobs=calls)
    def enqueue_again(self, jobs: list[NewJob]) -> None:
        """As after a lost reply."""
        self._enqueue(jobs)

    @rule(worker=st.sampled_from(WORKERS))
    def register(self, worker: str) -> None:
        limits = [Limit("fragile", "0"), Limit("tough", "inf"), Limit("add", "")]
        broker_calls.register(self.place, worker, lease_ms=LEASE_MS, limits=limits)
        self.model.workers.register(worker, LEASE_MS)

    @rule(worker=st.sampled_from(WORKERS))
    def beat(self, worker: str) -> None:
        beaten = broker_calls.beat(self.place, worker, lease_ms=LEASE_MS)
        orders = {f"{token.decode()} {name.decode()}" for token, name in beaten.revokes}
        expected = self.model.workers.beat(worker, LEASE_MS)
        assert (beaten.alive, beaten.overdue, orders) == expected

    @rule(
        target=held,
        worker=st.sampled_from(WORKERS),
        room=st.integers(0, 5),
        lanes=st.permutations(LANES),
        count=st.integers(1, 3),
        suspects=st.sampled_from([SUSPECTS, SUSPECTS, SUSPECTS[:1], []]),
        is_lost=st.sampled_from([False, False, False, True]),
    )
    def fetch(
        self,
        worker: str,
        room: int,
        lanes: list[str],
        count: int,
        suspects: list[str],
        is_lost: bool,  # noqa: FBT001 - Hypothesis gives it by name
    ) -> object:
        """With the reply lost, the worker remembers nothing of it."""
        model, places = self.model, [*suspects, *lanes[:count]]
        epoch = model.workers.epochs.get(worker, 0)
        fetching = self.broker.fetch(worker, epoch=epoch, room=room, keep_ms=KEEP_MS, lanes=places)
        fetched = self.runner.run(fetching)
        if not model.workers.is_alive(worker):
            assert fetched == (-1, 0, [], [])
            return multiple()
        expected = model.fetch(worker, room, places)
        assert [each.job_id.decode() for each in fetched.deliveries] == expected
        assert fetched.dropped == []
        for name, delivery in zip(expected, fetched.deliveries, strict=True):
            self._check(name, delivery, places)
        found = [Held(each.job_id.decode(), each.entry_id) for each in fetched.deliveries]
        return multiple(*([] if is_lost else found))

    @rule(worker=st.sampled_from(WORKERS))
    def fetch_late(self, worker: str) -> None:
        """From before a recovery: it was on its way for long, and nobody waits for its reply."""
        epoch = self.model.workers.epochs.get(worker, 0)
        if epoch and self.model.workers.is_alive(worker):
            with pytest.raises(AioqError, match="too late"):
                broker_calls.fetch(self.place, worker=worker, epoch=epoch - 1, lanes=LANES)

    @rule(
        worker=st.sampled_from(WORKERS),
        known=st.lists(held, max_size=8),
        is_new=st.sampled_from([True, True, False]),
    )
    def recover(self, worker: str, known: list[Held], is_new: bool) -> None:  # noqa: FBT001 - by name
        model, names = self.model, [each.name for each in known]
        epoch = model.workers.epochs.get(worker, 0) + is_new
        call = scripts.recover(self.place.prefix, worker=worker, epoch=epoch, most=250, known=names)
        if not model.workers.is_alive(worker):
            assert self.place.run(call) == 0
        elif not model.workers.may_recover(worker, epoch):
            with pytest.raises(AioqError, match="too late"):
                self.place.run(call)
        else:
            lost = [
                name
                for name in model.held_by(worker)
                if model.tokens[name] + b" " + name.encode() not in names
            ]
            assert self.place.run(call) == len(lost)
            model.take_over(lost, is_crash=False)

    @rule(held=held, mark=st.sampled_from("vvs"))
    def note(self, held: Held, mark: str) -> None:
        updates = [Update(held.job_id.encode(), held.token, mark, b"")]
        noted = self.place.run(scripts.update(self.place.prefix, count=1, updates=updates))
        assert noted == [self.model.mark(held.job_id, held.token, mark)]

    @rule(jobs=calls, at_once=st.booleans())
    def revoke(self, jobs: list[NewJob], at_once: bool) -> None:  # noqa: FBT001 - by name
        names = [job.job_id for job in jobs]
        accepted = broker_calls.revoke(self.place, *names, at_once=at_once, keep_ms=KEEP_MS)
        assert accepted == [
            self.model.revoke(name, at_once=at_once, keep_ms=KEEP_MS) for name in names
        ]

    @rule(most=st.sampled_from([1, 2, 250]))
    def reap(self, most: int) -> None:
        workers = self.model.workers
        expected = [] if workers.watch(LEASE_MS) else workers.overdue()
        reaped = broker_calls.reap(self.place, lease_ms=LEASE_MS, most=most, dead_max=DEAD_MAX)
        self._reaped(reaped, expected, most, is_crash=True)

    @rule(
        worker=st.sampled_from(WORKERS),
        most=st.sampled_from([1, 250, 250]),
        is_crash=st.booleans(),
    )
    def reap_by_name(self, worker: str, most: int, is_crash: bool) -> None:  # noqa: FBT001 - by name
        """Its death was seen, or it leaves."""
        reaped = broker_calls.reap(
            self.place, worker, is_crash=is_crash, most=most, dead_max=DEAD_MAX
        )
        self._reaped(reaped, [worker], most, is_crash=is_crash)

    def _reaped(self, reaped: Reaped, dead: list[str], most: int, *, is_crash: bool) -> None:
        """Do the same to the model; which jobs a bounded call took first is the server's choice."""
        model, room, done = self.model, most, list[str]()
        still_held = self._held_on_the_server()
        for worker in dead:
            model.workers.end(worker)
            held = model.held_by(worker)
            taken = [name for name in held if name not in still_held]
            assert len(taken) == min(len(held), room)
            model.take_over(taken, is_crash=is_crash)
            room -= len(taken)
            if len(taken) < len(held):
                break
            model.workers.forget(worker)
            done.append(worker)
        assert reaped == (most - room, done != dead, done)

    def _held_on_the_server(self) -> set[str]:
        """Return the jobs whose delivery is the one that the model knows of."""
        keys = self.place.snapshot()
        dump = dumped(keys)
        return {
            name
            for name, token in self.model.tokens.items()
            if dump[f"j:{name}"]["state"] == "running" and self.place.token(name) == token
        }

    @rule(
        target=words,
        held=held,
        op=st.sampled_from("ccrrfffnnulll"),
        pause=PAUSES,
        value=st.sampled_from([b"small", b"large" * 20]),
    )
    def settle(self, held: Held, op: str, pause: int, value: bytes) -> list[Settlement]:
        words = [_word(held, op, pause, value)]
        self._settle(words)
        return words

    @rule(
        target=words, several=st.lists(held, min_size=2, max_size=5), ops=st.permutations("crnfl")
    )
    def settle_a_batch(self, several: list[Held], ops: list[str]) -> list[Settlement]:
        words = [_word(held, op, 10, b"value") for held, op in zip(several, ops, strict=False)]
        self._settle(words)
        return words

    @rule(words=words)
    def settle_again(self, words: list[Settlement]) -> None:
        """As after a lost reply, or long after, by a worker that was frozen."""
        self._settle(words)

    @rule(ms=PAUSES | st.sampled_from([4000, 10_000, 10_000, 16_000, 40_000]))
    def advance(self, ms: int) -> None:
        self.clock.advance(ms)
        self.model.advance(ms)

    @invariant()
    def the_server_holds_what_the_model_holds(self) -> None:
        if not hasattr(self, "model"):
            return
        keys = self.place.snapshot()
        assert self.place.problems(keys) == []
        dump = {
            name: value
            for name, value in dumped(keys).items()
            if not IGNORED.fullmatch(name) and not self._is_left_over(name)
            if value or not name.startswith("s:")
        }
        expected = self.model.dump()
        assert dump == {name: expected[name] for name in expected if not self._is_left_over(name)}

    def _check(self, name: str, delivery: Delivery, places: list[str]) -> None:
        job, model = self.model.jobs[name], self.model
        assert delivery.payload == model.payloads[name]
        assert delivery.task.decode() == job["task"]
        assert places[delivery.lane] == place_of(job["lane"], job.get("crashes", 0))
        assert delivery.retries == job.get("retries", 0)
        assert delivery.deliveries == job.get("ended", 0) + 1
        assert delivery.due_ms == job.get("due", 0)
        assert delivery.entry_id != model.tokens.get(name), "each delivery has its own token"
        model.tokens[name] = delivery.entry_id

    def _is_left_over(self, name: str) -> bool:
        """The error of an earlier try stays until it expires where a job failed or expired."""
        job = self.model.jobs.get(name.removeprefix("v:"))
        return name.startswith("v:") and job is not None and job["state"] in {"failed", "revoked"}

    def _enqueue(self, jobs: list[NewJob]) -> None:
        expected = [self.model.enqueue(job) for job in jobs]
        made = self.runner.run(self.broker.enqueue_batch(jobs))
        assert made.created == expected

    def _settle(self, words: list[Settlement]) -> None:
        expected = self.model.settle(words)
        assert self.runner.run(self.broker.settle(words, dead_ms=10**9)) == expected


def _after(ms: int | None) -> str:
    return "" if ms is None else f"+{ms}"


def _word(held: Held, op: str, pause: int, value: bytes) -> Settlement:
    argument: str | int = {"c": KEEP_MS if pause else 0, "f": "", "l": "", "u": pause * 100}.get(
        op, f"+{pause}"
    )
    return Settlement(held.job_id.encode(), held.token, op, argument, value)


def run(place: Place, *, examples: int, steps: int) -> None:
    machine = type("Machine", (Machine,), {"place": place})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )


@pytest.mark.timeout(180)
def test_the_server_does_what_the_model_does(place: Place) -> None:
    run(place, examples=300, steps=40)


@pytest.mark.soak
def test_the_server_does_what_the_model_does_for_long(place: Place) -> None:
    run(place, examples=3000, steps=100)
