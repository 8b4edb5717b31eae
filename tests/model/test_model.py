"""Whatever is done in whatever order: the server holds what the model says it holds.

Each step is done on a real server and on the model, and then everything is compared.  That covers
what no single test can: nothing is lost, nothing runs twice or after its end, no retry is
counted that was not asked for, no payload is mixed up, and a zombie's word changes nothing.
"""

import asyncio
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
from aioq.broker.broker import Broker
from aioq.broker.scripts import Delivery, NewJob, Settlement
from aioq.broker.topology import parse
from tests.broker.clock import Clock
from tests.broker.place import Place, dumped, new_job
from tests.model.model import Model

pytestmark = pytest.mark.broker

LANES = ["mail:9", "default:5", "default:0"]
WORKERS = ["w1", "w2"]
DEAD_MAX = 2
KEEP_MS = 3_600_000
PAUSES = st.sampled_from([0, 1, 10, 500])


@dataclass(frozen=True)
class Held:
    """A delivery as its worker remembers it, for as long as it likes."""

    job_id: str
    token: bytes


class Machine(RuleBasedStateMachine):
    """A server and its model; each rule is a step of both."""

    place: Place
    held = Bundle("held")
    calls = Bundle("calls")
    words = Bundle("words")

    @initialize()
    def start(self) -> None:
        self.place.admin("FLUSHDB")
        self.place.lease(*WORKERS)
        self.patch = pytest.MonkeyPatch()
        self.clock = Clock(self.place)
        self.patch.setattr("aioq.broker.scripts.load", Clock.load)
        self.patch.setattr(broker_module, "DEAD_LETTERS", DEAD_MAX)
        self.model = Model(self.clock.now_ms, DEAD_MAX)
        self.made = 0
        self.runner = asyncio.Runner()
        self.broker = self.runner.run(self._open())

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
        due=st.none() | PAUSES,
        expires=st.none() | PAUSES,
    )
    def enqueue(self, count: int, lane: str, due: int | None, expires: int | None) -> list[NewJob]:
        jobs: list[NewJob] = []
        for _ in range(count):
            self.made += 1
            jobs.append(
                new_job(f"{self.made:03}", lane=lane, due=_after(due), expires=_after(expires))
            )
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

    @rule(
        target=held,
        worker=st.sampled_from(WORKERS),
        room=st.integers(0, 5),
        lanes=st.permutations(LANES),
        count=st.integers(1, 3),
    )
    def fetch(self, worker: str, room: int, lanes: list[str], count: int) -> object:
        expected = self.model.fetch(worker, room, lanes[:count])
        fetched = self.runner.run(
            self.broker.fetch(worker, room=room, keep_ms=KEEP_MS, lanes=lanes[:count])
        )
        assert [each.job_id.decode() for each in fetched.deliveries] == expected
        assert fetched.dropped == []
        for name, delivery in zip(expected, fetched.deliveries, strict=True):
            self._check(name, delivery, lanes)
        return multiple(*(Held(each.job_id.decode(), each.entry_id) for each in fetched.deliveries))

    @rule(
        target=words,
        held=held,
        op=st.sampled_from("ccrrfffnnu"),
        pause=PAUSES,
        value=st.sampled_from([b"small", b"large" * 20]),
    )
    def settle(self, held: Held, op: str, pause: int, value: bytes) -> list[Settlement]:
        words = [_word(held, op, pause, value)]
        self._settle(words)
        return words

    @rule(target=words, several=st.lists(held, min_size=2, max_size=4, unique=True))
    def settle_a_batch(self, several: list[Held]) -> list[Settlement]:
        words = [_word(held, op, 10, b"value") for held, op in zip(several, "crnf", strict=False)]
        self._settle(words)
        return words

    @rule(words=words)
    def settle_again(self, words: list[Settlement]) -> None:
        """As after a lost reply, or long after, by a worker that was frozen."""
        self._settle(words)

    @rule(ms=PAUSES | st.just(40_000))
    def advance(self, ms: int) -> None:
        self.clock.advance(ms)
        self.model.now = self.clock.now_ms

    @invariant()
    def the_server_holds_what_the_model_holds(self) -> None:
        if not hasattr(self, "model"):
            return
        keys = self.place.snapshot()
        assert self.place.problems(keys) == []
        ignored = ("l", "lw", "b:")
        dump = {
            name: value
            for name, value in dumped(keys).items()
            if not name.startswith(ignored) and not self._is_left_over(name)
        }
        expected = self.model.dump()
        assert dump == {name: expected[name] for name in expected if not self._is_left_over(name)}

    def _check(self, name: str, delivery: Delivery, lanes: list[str]) -> None:
        job, model = self.model.jobs[name], self.model
        assert delivery.payload == model.payloads[name]
        assert lanes[delivery.lane] == job["lane"]
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
    argument: str | int = {"c": KEEP_MS if pause else 0, "f": "", "u": pause * 100}.get(
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
    run(place, examples=400, steps=40)


@pytest.mark.soak
def test_the_server_does_what_the_model_does_for_long(place: Place) -> None:
    run(place, examples=3000, steps=100)
