"""Whatever is done in whatever order: the server holds what the model says it holds.

Each step is done on a real server and on the model, and then everything is compared.  That covers
what no single test can: nothing is lost, nothing runs twice or after its end, no retry and no crash
is counted that was none, no payload is mixed up, and a zombie's word changes nothing.
"""

import asyncio
import math
import re
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from aioq.broker import broker as broker_module
from aioq.broker import limits, queues, scripts
from aioq.broker.broker import Broker
from aioq.broker.scripts import Delivery, Limit, NewJob, Reaped, Settlement, Update
from aioq.broker.topology import parse
from aioq.core.errors import AioqError
from tests.broker import calls
from tests.broker.clock import Clock
from tests.broker.gates import is_gate, is_limited, slots_of, wait_of
from tests.broker.place import Place, State, dumped, new_job
from tests.model.model import FINAL, Got, Model

pytestmark = pytest.mark.broker
T = TypeVar("T")

LANES = ["mail:9", "default:5", "default:0"]
SUSPECTS = ["default:z", "mail:z"]
WORKERS = ["w1", "w2", "w3"]
DEATHS = {"fragile": 0, "tough": math.inf}
LIMITS = {"b:send": "2 1000000 3", "b:all": "1 2000000 2", "c:mail": "2", "c:key": "1"}
CHANGES = {"b:send": ["5 1000000 1", "1 3000000 4", ""], "c:mail": ["1", "3", ""]}
HOLDS = [
    "b:send:",
    "b:send:=2",
    "c:mail:",
    "f:a c:mail:",
    "f:b c:mail:",
    "f:a",
    "b:send: c:mail:",
    "b:all: b:send:x",
    "c:key:x c:mail:",
    "o:nightly",
]
DEAD_MAX = 2
KEEP_MS = 3_600_000
LEASE_MS = 30_000
ENOUGH = 300
"""Rounds after which no job can be left whose limits were kept as they are, and no more."""
IGNORED = re.compile(r"(b|sv|w|da|h[plqr]|sw|lg|tb):.*|l|o|ss|lc|lr")
"""What follows from the rest, and is checked for itself."""

PAUSES = st.sampled_from([0, 1, 10, 500])
OFTEN_NONE = st.sampled_from([None, None, None, 0, 1, 10, 500])
MOST = st.sampled_from([1, 2, 250])
A_WORKER = st.sampled_from(WORKERS)
PICK = st.integers(0, 30)
"""Which one of a list that grows, from its end."""


_ASLEEP = """
local found = redis.call('ZRANGEBYSCORE', KEYS[1] .. 'd', '(' .. ARGV[1], '+inf')
for _, key in ipairs(redis.call('KEYS', KEYS[1] .. 'sw:*')) do
  for _, gate in ipairs(redis.call('ZRANGE', key, 0, -1)) do found[#found + 1] = gate end
end
return found
"""


class Word(NamedTuple):
    """What a worker says of a delivery."""

    pick: int
    op: str
    pause: int
    value: bytes


OPS = st.sampled_from("ccrrfnnulllp")
WORD = st.builds(Word, PICK, OPS, PAUSES, st.sampled_from([b"small", b"large" * 20]))


class Held(NamedTuple):
    """A delivery as its worker remembers it, for as long as it likes."""

    job_id: bytes
    entry_id: bytes

    @property
    def name(self) -> bytes:
        """Its name in a call."""
        return self.entry_id + b" " + self.job_id


class Machine(RuleBasedStateMachine):
    """A server and its model; each rule is a step of both."""

    place: Place

    @initialize()
    def start(self) -> None:
        self.place.admin("FLUSHDB")
        self.patch = pytest.MonkeyPatch()
        self.clock = Clock(self.place)
        self.patch.setattr("aioq.broker.scripts.load", Clock.load)
        self.patch.setattr(broker_module, "DEAD_LETTERS", DEAD_MAX)
        self.model = Model(self.clock.now_ms, DEAD_MAX, DEATHS, LIMITS)
        declared = [limits.Numbers(*each) for each in LIMITS.items()]
        self.place.run(
            limits.declare(
                self.place.prefix, source="app", version=1, complete=True, limits=declared
            )
        )
        self.enqueued: list[list[NewJob]] = []
        self.held: list[Held] = []
        self.said: list[list[Settlement]] = []
        self.runner = asyncio.Runner()
        self.broker = self.runner.run(self._open())
        for worker in WORKERS:
            self._register(worker)
        for index, holds in enumerate(HOLDS):
            lane = f"{LANES[index % 3]} {holds}"
            self._enqueue([new_job(f"held-{index}-{n}", lane=lane) for n in range(2)])
        for index, lane in enumerate(LANES * 2):
            self._enqueue([new_job(f"first-{index}", lane=lane, task=list(DEATHS)[index % 2])])

    async def _open(self) -> Broker:
        topology = parse(self.place.url, prefix=self.place.prefix)
        return Broker(topology, self.place.keys, enqueue_timeout=5)

    def teardown(self) -> None:
        if not hasattr(self, "broker"):
            return
        try:
            self._run_all()
            self._empty()
        finally:
            self.runner.run(self.broker.aclose())
            self.runner.close()
            self.patch.undo()

    def _run_all(self) -> None:
        """Give one worker time: every job comes to its end, however little its limits allow."""
        for queue in sorted(self.model.paused):
            self.pause(queue, pauses=False)
        for worker in WORKERS:
            self._reap(worker, 250, is_crash=False)
        for _ in range(ENOUGH):
            self._tend(WORKERS[0])
            self._fetch(WORKERS[0], 250, [*SUSPECTS, *LANES], is_lost=False)
            running = [name for name, job in self.model.jobs.items() if job["state"] == "running"]
            if running:
                words = [self._held(name) for name in running]
                self._settle([Settlement(*each, "c", KEEP_MS, b"R") for each in words])
            elif all(job["state"] in FINAL for job in self.model.jobs.values()):
                return
            else:
                self.advance(2000, set())
        left = {name: job for name, job in self.model.jobs.items() if job["state"] not in FINAL}
        raise AssertionError(f"these never end: {left}")

    def _empty(self) -> None:
        """Revoke what is left and let everybody leave: only what expires may remain (G13)."""
        calls.revoke(self.place, *self.model.jobs, at_once=True)
        for worker in WORKERS:
            while calls.reap(self.place, worker, is_crash=False, most=2).rest:
                pass
        assert self.place.problems() == []

    @rule(
        count=st.integers(1, 4),
        lane=st.sampled_from(LANES),
        task=st.sampled_from(["add", "add", *DEATHS]),
        due=OFTEN_NONE,
        expires=OFTEN_NONE,
    )
    def enqueue(
        self, count: int, lane: str, task: str, due: int | None, expires: int | None
    ) -> None:
        first = len(self.model.jobs)
        self._enqueue(
            [
                new_job(f"{n:03}", lane=lane, task=task, due=_after(due), expires=_after(expires))
                for n in range(first, first + count)
            ]
        )

    @rule(
        count=st.integers(1, 4),
        lane=st.sampled_from(LANES),
        holds=st.sampled_from(HOLDS),
        due=OFTEN_NONE,
        expires=OFTEN_NONE,
    )
    def enqueue_held(
        self, count: int, lane: str, holds: str, due: int | None, expires: int | None
    ) -> None:
        """Jobs of a task with limits."""
        first, lane = len(self.model.jobs), f"{lane} {holds}"
        self._enqueue(
            [
                new_job(f"{n:03}", lane=lane, due=_after(due), expires=_after(expires))
                for n in range(first, first + count)
            ]
        )

    @rule(field=st.sampled_from(list(CHANGES)), pick=PICK)
    def change_limit(self, field: str, pick: int) -> None:
        """Those who wait for it are told.

        Its buckets are emptied of what they know: how a level is carried over depends on when it
        was last looked at, which the model does not know.
        """
        numbers = _picked(CHANGES[field], pick)
        prefix = self.place.prefix
        for instance in self.model.gates.buckets_of(field):
            self.place.admin("DEL", f"{prefix}tb:{instance}")
        assert self.place.run(limits.change(prefix, limit=field, numbers=numbers))
        while self.place.run(limits.wake(prefix, limit=field, most=2)) == 2:
            pass
        self.model.gates.change(field, numbers)

    @rule(queue=st.sampled_from(["default", "mail"]), pauses=st.booleans())
    def pause(self, queue: str, *, pauses: bool) -> None:
        """Or resume."""
        paused = self.model.paused
        call = queues.pause if pauses else queues.resume
        changed = self.place.run(call(self.place.prefix, queue=queue))
        assert changed == ((queue in paused) != pauses)
        paused.add(queue) if pauses else paused.discard(queue)

    @rule(
        job_id=st.sampled_from(["mine", "yours"]),
        nonce=st.sampled_from(["n1", "n2"]),
        lane=st.sampled_from(LANES),
        due=OFTEN_NONE,
    )
    def enqueue_by_id(self, job_id: str, nonce: str, lane: str, due: int | None) -> None:
        payload = f"{job_id} of {nonce} in {lane}".encode()
        self._enqueue([new_job(job_id, nonce=nonce, lane=lane, due=_after(due), payload=payload)])

    @rule(pick=PICK)
    def enqueue_again(self, pick: int) -> None:
        """As after a lost reply."""
        self._enqueue(_picked(self.enqueued, pick))

    def _enqueue(self, jobs: list[NewJob]) -> None:
        self.enqueued.append(jobs)
        expected = [self.model.enqueue(job) for job in jobs]
        made = self.runner.run(self.broker.enqueue_batch(jobs))
        assert made.created == expected

    @rule(worker=A_WORKER, is_new=st.booleans())
    def tend(self, worker: str, *, is_new: bool) -> None:
        """Ask for a lease, or renew it."""
        self._tend(worker, is_new=is_new)

    def _tend(self, worker: str, *, is_new: bool = True) -> None:
        if is_new:
            self._register(worker)
        self._beat(worker)

    def _register(self, worker: str) -> None:
        limits = [Limit("fragile", "0"), Limit("tough", "inf"), Limit("add", "")]
        calls.register(self.place, worker, lease_ms=LEASE_MS, limits=limits)
        self.model.workers.register(worker, LEASE_MS)

    def _beat(self, worker: str) -> None:
        beaten = calls.beat(self.place, worker, lease_ms=LEASE_MS)
        orders = {f"{token.decode()} {name.decode()}" for token, name in beaten.revokes}
        expected = self.model.workers.beat(worker, LEASE_MS)
        assert (beaten.alive, beaten.overdue, orders) == expected

    @rule(
        worker=A_WORKER,
        room=st.integers(0, 5),
        lanes=st.permutations(LANES),
        suspects=st.sampled_from([SUSPECTS, SUSPECTS, SUSPECTS[:1], []]),
        is_lost=st.sampled_from([False, False, False, True]),
    )
    def fetch(
        self,
        worker: str,
        room: int,
        lanes: list[str],
        suspects: list[str],
        *,
        is_lost: bool,
    ) -> None:
        """With the reply lost, the worker remembers nothing of it."""
        self._fetch(worker, room, [*suspects, *lanes[: 1 + room]], is_lost=is_lost)

    @rule(
        worker=A_WORKER,
        words=st.lists(WORD, max_size=5),
        ms=st.sampled_from([0, 0, 4000, 8000]),
        end=st.sampled_from(["", "waits", "dies", "waits, dies", "leaves"]),
        most=MOST,
    )
    def work(self, worker: str, words: list[Word], ms: int, end: str, most: int) -> None:
        """Run jobs, one of which may wait for a thread; settle some; live on or not."""
        self.advance(ms, {worker})
        if not self.model.workers.is_alive(worker):
            self._register(worker)
        self._fetch(worker, 4, [*SUSPECTS, *LANES], is_lost=False)
        if self.held and words:
            self._settle([_settlement(_picked(self.held, word.pick), word) for word in words])
        if self.held and "waits" in end:
            self.note(0, "v")
        if end not in {"", "waits"}:
            self._reap(worker, most, is_crash=end != "leaves")

    def _fetch(self, worker: str, room: int, places: list[str], *, is_lost: bool) -> None:
        model = self.model
        epoch = model.workers.epochs.get(worker, 0)
        asleep = {
            gate.decode()
            for gate in self.place.admin("EVAL", _ASLEEP, 1, self.place.prefix, model.now)
        }
        fetching = self.broker.fetch(worker, epoch=epoch, room=room, keep_ms=KEEP_MS, lanes=places)
        fetched = self.runner.run(fetching)
        if not model.workers.is_alive(worker):
            assert fetched == (-1, 0, [], False, [])
            return
        assert fetched.dropped == []
        count = len(places)
        got = [
            Got(each.job_id.decode(), places[each.lane % count], each.lane >= count)
            for each in fetched.deliveries
        ]
        model.fetch(worker, room, places, got, self._has_ended, asleep)
        for each, delivery in zip(got, fetched.deliveries, strict=True):
            self._check(each, delivery)
            if not is_lost:
                self.held.append(Held(delivery.job_id, delivery.entry_id))

    def _check(self, got: Got, delivery: Delivery) -> None:
        name, model = got.name, self.model
        job = model.jobs[name]
        assert delivery.payload == model.payloads[name]
        assert delivery.task.decode() == job["task"]
        assert got.place == wait_of(job["lane"], job.get("crashes", 0))
        assert got.is_limited == is_limited(job.get("holds", ""))
        assert delivery.retries == job.get("retries", 0)
        assert delivery.deliveries == job.get("ended", 0) + 1
        assert delivery.due_ms == job.get("due", 0)
        assert delivery.entry_id != model.tokens.get(name), "each delivery has its own token"
        model.tokens[name] = delivery.entry_id

    @rule(
        worker=A_WORKER,
        known=st.sets(PICK, max_size=8),
        is_new=st.sampled_from([True, True, False]),
    )
    def recover(self, worker: str, known: set[int], *, is_new: bool) -> None:
        """Of what is not known the reply was lost; a call of an old epoch is a late one."""
        names = {_picked(self.held, pick).name for pick in known if self.held}
        workers = self.model.workers
        epoch = workers.epochs.get(worker, 0) + is_new
        if not workers.is_alive(worker):
            assert self._recover(worker, epoch, names) == 0
        elif workers.may_recover(worker, epoch):
            held = self.model.held_by(worker)
            lost = [name for name in held if self._held(name).name not in names]
            assert self._recover(worker, epoch, names) == len(lost)
            self.model.take_over(lost, is_crash=False)
            with pytest.raises(AioqError, match="fetch comes too late"):
                calls.fetch(self.place, worker=worker, epoch=epoch - 1, lanes=LANES)
        else:
            with pytest.raises(AioqError, match="recovery comes too late"):
                self._recover(worker, epoch, names)

    def _recover(self, worker: str, epoch: int, names: set[bytes]) -> int:
        prefix = self.place.prefix
        return self.place.run(
            scripts.recover(prefix, worker=worker, epoch=epoch, most=250, known=names)
        )

    def _held(self, name: str) -> Held:
        return Held(name.encode(), self.model.tokens[name])

    @precondition(lambda self: self.held)
    @rule(pick=PICK, mark=st.sampled_from("vvs"))
    def note(self, pick: int, mark: str) -> None:
        held = _picked(self.held, pick)
        updates = [Update(held.job_id, held.entry_id, mark, b"")]
        noted = self.place.run(scripts.update(self.place.prefix, count=1, updates=updates))
        assert noted == [self.model.mark(held.job_id.decode(), held.entry_id, mark)]

    @rule(picks=st.sets(PICK, min_size=1, max_size=2), at_once=st.booleans())
    def revoke(self, picks: set[int], *, at_once: bool) -> None:
        names = sorted({_picked(list(self.model.jobs), pick) for pick in picks})
        accepted = calls.revoke(self.place, *names, at_once=at_once, keep_ms=KEEP_MS)
        assert accepted == [
            self.model.revoke(name, at_once=at_once, keep_ms=KEEP_MS) for name in names
        ]

    @precondition(lambda self: self.held)
    @rule(words=st.lists(WORD, min_size=1, max_size=5))
    def settle(self, words: list[Word]) -> None:
        """Also what was settled before, and the same delivery twice."""
        self._settle([_settlement(_picked(self.held, word.pick), word) for word in words])

    @precondition(lambda self: self.said)
    @rule(pick=PICK)
    def settle_again(self, pick: int) -> None:
        """As after a lost reply, or long after, by a worker that was frozen."""
        self._settle(_picked(self.said, pick))

    def _settle(self, words: list[Settlement]) -> None:
        self.said.append(words)
        expected = self.model.settle(words)
        assert self.runner.run(self.broker.settle(words, dead_ms=10**9)) == expected

    @rule(worker=st.none() | A_WORKER, most=MOST, is_crash=st.sampled_from([True, True, False]))
    def reap(self, worker: str | None, most: int, *, is_crash: bool) -> None:
        """Take over from one whose death was seen, or that leaves; or from all that are overdue."""
        self._reap(worker, most, is_crash=is_crash)

    def _reap(self, worker: str | None, most: int, *, is_crash: bool) -> None:
        reaped = calls.reap(
            self.place, worker or "", is_crash=is_crash, most=most, dead_max=DEAD_MAX
        )
        workers = self.model.workers
        if worker is None:
            dead = [] if workers.watch(LEASE_MS) else workers.overdue()
        else:
            dead = [worker]
        self._reaped(reaped, dead, most, is_crash=is_crash)

    def _reaped(self, reaped: Reaped, dead: list[str], most: int, *, is_crash: bool) -> None:
        """Do it to the model too; which jobs a bounded call takes first is the server's choice."""
        model, room, done = self.model, most, list[str]()
        for worker in dead:
            model.workers.end(worker)
            held = model.held_by(worker)
            taken = [name for name in held if not self._is_running(name)]
            assert len(taken) == min(len(held), room)
            model.take_over(taken, is_crash=is_crash)
            room -= len(taken)
            if len(taken) < len(held):
                break
            model.workers.forget(worker)
            done.append(worker)
        assert reaped == (most - room, done != dead, done)

    def _is_running(self, name: str) -> bool:
        return self._state(name) == b"r"

    def _has_ended(self, name: str) -> bool:
        return self._state(name) == b"x"

    def _state(self, name: str) -> bytes:
        return self.place.admin("HGET", f"{self.place.prefix}j:{name}", "s")

    @rule(
        ms=st.sampled_from([0, 1, 10, 500, 4000, 10_000, 16_000, 40_000]),
        beating=st.sets(A_WORKER),
    )
    def pass_time(self, ms: int, beating: set[str]) -> None:
        self.advance(ms, beating)

    def advance(self, ms: int, beating: set[str]) -> None:
        """Let time pass, and workers live on."""
        self.clock.advance(ms)
        self.model.advance(ms)
        for worker in sorted(beating):
            self._beat(worker)

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
        self._check_waits(dumped(keys))
        sleeping = {each for each in dump.get("d", {}) if is_gate(each)}
        dump["d"] = {each: due for each, due in dump.get("d", {}).items() if each not in sleeping}
        if not dump["d"]:
            del dump["d"]
        expected = self.model.dump()
        assert dump == {name: expected[name] for name in expected if not self._is_left_over(name)}

    def _check_waits(self, dump: State) -> None:
        """No job waits that could start: its gate is looked at next, or something is in its way."""
        gates, now = self.model.gates, self.model.now
        for gate, due in dump.get("d", {}).items():
            head = is_gate(gate) and gates.head(gate)
            assert not head or due <= now or self.model.obstacles(head), f"{gate} sleeps too long"
        woken = {
            word
            for name in dump
            if name.startswith("hr:")
            for gate in dump[name]
            for word in slots_of(gate)
        }
        for name in dump:
            slot = name.removeprefix("sw:")
            is_free = name != slot and len(gates.holders(slot)) < gates.capacity(slot)
            assert not is_free or slot in woken, f"{name} waits for a slot that is free"

    def _is_left_over(self, name: str) -> bool:
        """The error of an earlier try stays until it expires where a job failed or expired."""
        job = self.model.jobs.get(name.removeprefix("v:"))
        return name.startswith("v:") and job is not None and job["state"] in {"failed", "revoked"}


def _picked(items: Sequence[T], pick: int) -> T:
    return items[-1 - pick % len(items)]


def _after(ms: int | None) -> str:
    return "" if ms is None else f"+{ms}"


def _settlement(held: Held, word: Word) -> Settlement:
    op, pause = word.op, word.pause
    given = {"c": KEEP_MS if pause else 0, "f": "", "l": "", "u": pause * 100, "p": "c:mail:"}
    return Settlement(held.job_id, held.entry_id, op, given.get(op, f"+{pause}"), word.value)


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


@pytest.mark.timeout(400)
def test_the_server_does_what_the_model_does(place: Place) -> None:
    run(place, examples=70, steps=40)


@pytest.mark.soak
def test_the_server_does_what_the_model_does_for_long(place: Place) -> None:
    run(place, examples=3000, steps=100)
