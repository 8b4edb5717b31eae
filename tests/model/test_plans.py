"""Random workflows, whatever is done to their jobs in whatever order: nothing hangs, nothing leaks.

What is left over for later calls is little in real life; here a call tells only a few, so that most
of what happens does so while something is left over.
"""

import hashlib
from typing import Any

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

from aioq.broker import letters, limits, plans, scripts
from aioq.broker.plans import NewNode
from aioq.broker.scripts import Call, Delivery, Script, Settlement
from aioq.core.frames import unframe
from tests.broker import calls
from tests.broker.clock import Clock
from tests.broker.place import Place
from tests.model.dag import GATHERED, Flow, Node, Seen

pytestmark = pytest.mark.broker

WORKERS = ["w1", "w2"]
LANES = ["default:5", "mail:9", "default:0", "default:z", "mail:z"]
A_LANE = st.sampled_from(
    ["default:5"] * 4 + ["mail:9", "default:0", "mail:9 c:mail:", "mail:9 f:a"]
)
A_TIME = st.sampled_from(["", "", "", "", "+10", "+500"])
KEEP_MS = 3_600_000
PATIENCE_MS = 60_000
PICK = st.integers(0, 200)
LARGE = b"\xda\x75\x30" + b"x" * 30_000
ROUNDS = 200
"""After so many no job can be left."""

_LOOK = """
local prefix, found = KEYS[1], {}
for n, job in ipairs(ARGV) do
  local record = redis.call('HMGET', prefix .. 'j:' .. job, 's', 'i')
  local value = record[2] or redis.call('GET', prefix .. 'v:' .. job) or ''
  found[n] = { record[1] or '', value, redis.call('EXISTS', prefix .. 'y:' .. job) }
end
return { redis.call('EXISTS', prefix .. 'gl'), found }
"""


@st.composite
def flows(draw: st.DrawFn) -> list[Node]:
    """Draw the jobs of a workflow, the root last; their names are given later."""
    count = draw(st.integers(2, 40) if draw(st.integers(0, 4)) == 0 else st.integers(2, 9))
    shape = draw(st.sampled_from(["any", "any", "any", "fan", "chain", "chord"]))
    nodes: list[Node] = []
    for index in range(count):
        takes = [node.id for node in nodes if node.kind != "e"]
        kind, deps = draw(st.sampled_from("jjjjjjcgGe")), draw(_deps(shape, takes))
        is_last = index == count - 1
        if is_last:  # all others are there for its sake
            taken = {dep for node in nodes if node.kind != "e" for dep in node.deps}
            deps += [each for each in takes if each not in taken and each not in deps]
        if not deps:
            kind = "j"
        elif kind == "e":
            kind, deps = ("j", deps) if is_last else ("e", deps[:1])
        node = Node(str(index), kind, deps)
        if kind in "jce":
            node.due, node.expires, node.lane = draw(A_TIME), draw(A_TIME), draw(A_LANE)
        nodes.append(node)
    return nodes


def _deps(shape: str, takes: list[str]) -> st.SearchStrategy[list[str]]:
    """Draw those of the jobs before it that one waits for."""
    if shape == "any" and takes:
        return st.lists(st.sampled_from(takes), max_size=4)
    fixed: dict[str, list[str]] = {"fan": takes[:1], "chain": takes[-1:]}
    return st.just(fixed.get(shape, []))


class Machine(RuleBasedStateMachine):
    """A server; each rule is a step, after which all jobs are looked at."""

    place: Place

    @initialize(told=st.sampled_from([1, 3, 250]), inline=st.sampled_from([1, 16]))
    def start(self, told: int, inline: int) -> None:
        self.place.admin("FLUSHDB")
        self.patch = pytest.MonkeyPatch()
        self.clock = Clock(self.place)
        self.patch.setattr("aioq.broker.scripts.load", loader(told, inline))
        self.place.run(
            limits.declare(
                self.place.prefix,
                source="app",
                version=1,
                complete=True,
                limits=[limits.Numbers("c:mail", "2")],
            )
        )
        self.flows: list[Flow] = []
        self.parts: list[tuple[Flow, str, list[NewNode]]] = []
        self.sent: list[tuple[Flow, str, list[NewNode]]] = []
        self.held: dict[str, list[Delivery]] = {worker: [] for worker in WORKERS}
        self.values = 0
        self.epoch = 0
        self.nonce = 0
        self.is_touched = True

    # What is made.

    @precondition(lambda self: len(self.flows) < 4)
    @rule(nodes=flows(), parts=st.sampled_from([0, 0, 2, 3]))
    def make(self, nodes: list[Node], parts: int) -> None:
        number = len(self.flows)
        for node in nodes:
            node.id = f"{number}-{node.id}"
            node.deps = [f"{number}-{dep}" for dep in node.deps]
        flow = Flow(nodes)
        self.flows.append(flow)
        new = flow.new_nodes()
        if not parts:
            assert self._send(flow, "w", new)
            return
        flow.is_open = False
        new = [new[-1], *new[:-1]]  # as those do who send
        size = -(-len(new) // parts)
        slices = [new[at : at + size] for at in range(0, len(new), size)]
        self.parts += [(flow, "f" if n == 0 else "p", each) for n, each in enumerate(slices)]

    @precondition(lambda self: self.parts)
    @rule(most=st.integers(1, 3), again=st.booleans())
    def go_on(self, *, most: int, again: bool) -> None:
        while self.parts and most > 0:
            most -= 1
            flow, mode, new = self.parts.pop(0)
            made = self._send(flow, mode, new)
            if again:
                assert self._send(flow, mode, new) == made
            is_last = all(each[0] is not flow for each in self.parts)
            if not made:
                self.parts = [each for each in self.parts if each[0] is not flow]
            elif is_last:
                self._seal(flow)
                if again:
                    self._seal(flow)

    @precondition(lambda self: self.parts)
    @rule()
    def forget(self) -> None:
        """Whoever sends a large one is gone."""
        flow = self.parts[0][0]
        self.parts = [each for each in self.parts if each[0] is not flow]

    @precondition(lambda self: self.sent)
    @rule(pick=PICK)
    def send_again(self, pick: int) -> None:
        flow, mode, new = self.sent[pick % len(self.sent)]
        if flow.is_open:
            before = self._look(flow)
            self._plan(flow, mode, new)
            assert self._look(flow) == before

    # What becomes of it.

    @rule(worker=st.sampled_from(WORKERS), room=st.sampled_from([1, 3, 250]))
    def fetch(self, worker: str, room: int) -> None:
        self._fetch(worker, room)

    @precondition(lambda self: any(self.held.values()))
    @rule(
        words=st.lists(st.tuples(PICK, st.sampled_from("cccccccrfffnl"), st.booleans()), max_size=8)
    )
    def settle(self, words: list[tuple[int, str, bool]]) -> None:
        held = [each for some in self.held.values() for each in some]
        outcomes: list[Settlement] = []
        for pick, op, is_large in words:
            each = held[pick % len(held)]
            value = self._value(op, is_large=is_large)
            given = {"c": KEEP_MS, "r": "+10", "n": "+10"}
            outcomes.append(calls.outcome(each, op, given.get(op, ""), value))
        calls.settle(self.place, *outcomes)

    @precondition(lambda self: self.flows)
    @rule(pick=PICK, which=PICK, at_once=st.booleans())
    def revoke(self, *, pick: int, which: int, at_once: bool) -> None:
        flow = self.flows[pick % len(self.flows)]
        if flow.is_open:
            name = list(flow.nodes)[which % len(flow.nodes)]
            self._revoke([name], at_once=at_once)

    @precondition(lambda self: self.flows)
    @rule(pick=PICK)
    def revoke_all(self, pick: int) -> None:
        flow = self.flows[pick % len(self.flows)]
        steps = plans._revoking(self.place.prefix, flow.root, at_once=True, keep_ms=KEEP_MS)  # pyright: ignore[reportPrivateUsage]
        call: Call[Any] = next(steps)
        while True:
            try:
                call = steps.send(self.place.run(call))
            except StopIteration:
                break
        self._observe()
        if flow.nodes[flow.root].was_made:
            assert not list(flow.unfinished())

    @rule(what=st.sampled_from(["reap", "leave", "recover", "flush", "beat", "discard"]), pick=PICK)
    def upset(self, what: str, pick: int) -> None:
        worker = WORKERS[pick % 2]
        self.place.lease(worker)
        if what in {"reap", "leave"}:
            calls.reap(self.place, worker, is_crash=what == "reap")
            self.held[worker] = self.held[worker][: pick % 4]  # of a zombie
        elif what == "recover":
            self.epoch += 1
            known = self.held[worker][: pick % 4]
            calls.recover(self.place, worker, epoch=self.epoch, known=known)
            self.held[worker] = known
        elif what == "flush":
            self.place.admin("SCRIPT", "FLUSH")
        elif what == "beat":
            self._beat()
        elif dead := self._dead():
            names = [dead[pick % len(dead)]]
            self.nonce += 1
            call = letters.discard(self.place.prefix, nonce=str(self.nonce), job_ids=names)
            self.place.run(call)

    @rule(ms=st.sampled_from([1, 100, 400, PATIENCE_MS + 1]))
    def pass_time(self, ms: int) -> None:
        self.clock.advance(ms)

    @precondition(lambda self: self._dead())
    @rule(picks=st.lists(PICK, min_size=1, max_size=4))
    def replay(self, picks: list[int]) -> None:
        dead = self._dead()
        self._replay([dead[pick % len(dead)] for pick in picks])

    @invariant()
    def observe(self) -> None:
        if hasattr(self, "flows"):
            self._observe()

    def teardown(self) -> None:
        if not hasattr(self, "flows"):
            return
        try:
            self.parts = []
            self._drain()
            if dead := self._dead():
                self._replay(dead)
                self._drain()
            self._check_rest()
        finally:
            self.patch.undo()

    def _drain(self) -> None:
        """Let everything end: nothing may hang."""
        left: list[Node] = []
        for _ in range(ROUNDS):
            held = [each for some in self.held.values() for each in some]
            self.held = {worker: [] for worker in WORKERS}
            outcomes = [calls.outcome(each, "c", KEEP_MS, self._value("c")) for each in held]
            calls.settle(self.place, *outcomes)
            self._observe()
            left = [node for flow in self.flows for node in flow.unfinished()]
            if not left and not self.place.admin("EXISTS", f"{self.place.prefix}gl"):
                return
            self.clock.advance(10_000)
            self._beat()
            for worker in WORKERS:
                self._fetch(worker, 250)
            self._observe()
        raise AssertionError(f"these hang: {left}")

    def _check_rest(self) -> None:
        """Check that nothing is left that never expires."""
        self.clock.advance(PATIENCE_MS + 1)
        has_errands = True
        while has_errands:
            self._beat()
            self._fetch("w1", 250)
            has_errands = self.place.admin("EXISTS", f"{self.place.prefix}gl")
        keys = self.place.snapshot()
        of_plans = ("g:", "gx:", "gd:", "gv:", "gm:", "gk:", "gs:", "y:", "v:", "j:")
        found = [name for name in keys if name.startswith(of_plans) or name in {"gl", "go"}]
        assert [name for name in found if keys[name].ttl < 0] == []
        assert self.place.problems(keys) == []

    # How it is done.

    def _send(self, flow: Flow, mode: str, new: list[NewNode]) -> bool:
        self.sent.append((flow, mode, new))
        return self._plan(flow, mode, new)

    def _plan(self, flow: Flow, mode: str, new: list[NewNode]) -> bool:
        return self.place.run(
            plans.plan(
                self.place.prefix,
                root=flow.root,
                mode=mode,
                keep_ms=KEEP_MS,
                count=len(new),
                nodes=new,
            )
        )

    def _seal(self, flow: Flow) -> None:
        if self.place.run(plans.seal(self.place.prefix, root=flow.root)):
            flow.is_open = True

    def _fetch(self, worker: str, room: int) -> None:
        self.place.lease(worker)
        self._observe()
        fetched = calls.fetch(self.place, worker=worker, epoch=self.epoch, room=room, lanes=LANES)
        self.held[worker] += fetched.deliveries
        for each in fetched.deliveries:
            name = each.job_id.decode()
            flow = self._flow_of(name)
            self._check_payload(flow, flow.nodes[name], each.payload)

    def _check_payload(self, flow: Flow, node: Node, framed: bytes) -> None:
        plain = f"<{node.id}>".encode()
        if not node.deps:
            assert framed == plain
            return
        inner, items = unframe(framed)
        assert inner == plain
        if items is None:
            items = self._gathered(node, None)
        flow.check_inputs(node, items)

    def _gathered(self, node: Node, shape: bytes | None) -> list[bytes]:
        call = plans.gather(self.place.prefix, job_id=node.id, first=0, count=len(node.deps))
        read = self.place.run(call)
        assert read.shape == shape
        return [item or b"" for item in read.items]

    def _beat(self) -> None:
        self.place.lease("w1")
        calls.beat(self.place, lease_ms=10_000_000)

    def _replay(self, names: list[str]) -> None:
        self.nonce += 1
        call = letters.replay(self.place.prefix, nonce=str(self.nonce), job_ids=names)
        self.place.run(call)

    def _value(self, op: str, *, is_large: bool = False) -> bytes:
        self.values += 1
        if op in "rfl":
            return b"\x92\xa1E\xce" + self.values.to_bytes(4, "big")
        return LARGE if is_large else b"\xce" + self.values.to_bytes(4, "big")

    def _revoke(self, names: list[str], *, at_once: bool) -> None:
        self.place.run(
            scripts.revoke(self.place.prefix, at_once=at_once, keep_ms=KEEP_MS, job_ids=names)
        )

    def _dead(self) -> list[str]:
        nodes = [node for flow in self.flows for node in flow.nodes.values()]
        return [node.id for node in nodes if node.state == "f"]

    def _flow_of(self, name: str) -> Flow:
        return self.flows[int(name.partition("-")[0])]

    def _look(self, flow: Flow) -> tuple[dict[str, Seen], bool]:
        names = list(flow.nodes)
        has_rest, rows = self.place.admin("EVAL", _LOOK, 1, self.place.prefix, *names)
        seen = {
            name: Seen(state.decode(), value, bool(body))
            for name, (state, value, body) in zip(names, rows, strict=True)
        }
        return seen, not has_rest

    def _observe(self) -> None:
        for flow in self.flows:
            seen, is_quiet = self._look(flow)
            before = {name: node.state for name, node in flow.nodes.items()}
            flow.observe(seen, quiet=is_quiet)
            is_read = flow.nodes[flow.root].state != "x"
            for name, node in flow.nodes.items():
                if is_read and node.kind in "gG" and node.state == "c" and before[name] != "c":
                    assert node.ends[-1] == b"c" + GATHERED
                    flow.check_inputs(node, self._gathered(node, f"<{name}>".encode()))


def loader(told: int, inline: int) -> Any:  # noqa: ANN401 - stands in for `scripts.load`
    """Load scripts that tell few others in a call, and read the moved clock."""
    found: dict[str, Script] = {}

    def load(name: str) -> Script:
        if name not in found:
            source = Clock.load(name).source
            source = source.replace("local TOLD = 100", f"local TOLD = {told}")
            source = source.replace("local INLINE_WORDS = 16", f"local INLINE_WORDS = {inline}")
            digest = hashlib.sha1(source.encode()).hexdigest()  # noqa: S324 - Redis's
            source = source.replace("local REOPENED = 100", "local REOPENED = 10000")
            found[name] = Script(name, source, digest)
        return found[name]

    return load


def run(place: Place, *, examples: int, steps: int, is_random: bool = True) -> None:
    machine = type("Machine", (Machine,), {"place": place})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=not is_random,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )


@pytest.mark.timeout(400)
def test_no_workflow_hangs_or_leaks_or_begins_early(place: Place) -> None:
    """The same examples each time; `make soak` looks for others."""
    run(place, examples=100, steps=40, is_random=False)


@pytest.mark.soak
def test_no_workflow_hangs_or_leaks_or_begins_early_for_long(place: Place) -> None:
    run(place, examples=3000, steps=80)
