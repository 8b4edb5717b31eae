"""Chords, chains and graphs while workers and the server are killed: each job is made exactly once.

What is sent is known, so is what it must come to.  Every task writes down that it starts and that
it returns; a job may run again only where a process died under it.
"""

import asyncio
import itertools
import os
import random
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest

from aioq import chain, chord
from aioq.embedded import PrivateServer
from aioq.tasks import Composable
from tests.broker.place import Place
from tests.chaos import journal
from tests.chaos.actors import Life, Slot, worker
from tests.chaos.chaos import AOF
from tests.chaos.workflow_app import app, body, member, node, step
from tests.eventually import eventually

SEED = "CHAOS_SEED"
LEASE = 1.5
APP = "tests.chaos.workflow_app:app"


@dataclass(frozen=True, kw_only=True)
class Load:
    """How much is sent, and how many processes die meanwhile."""

    chords: int
    chains: int
    graphs: int
    worker_kills: int
    server_kills: int
    patience: float
    """Seconds within which everything is done after the last fault."""
    workers: int = 2
    members: int = 20
    steps: int = 4
    seed: int = 1


SMALL = Load(chords=40, chains=200, graphs=15, worker_kills=5, server_kills=2, patience=60)
FULL = Load(
    chords=2000,
    chains=10_000,
    graphs=500,
    worker_kills=60,
    server_kills=12,
    patience=600,
    workers=3,
)


class Flow(NamedTuple):
    """One workflow, and what must become of it."""

    composition: Composable[object]
    names: list[str]
    """What its tasks are called."""
    result: object
    gathers: int
    """How many of its jobs only gather results."""


class Execution(NamedTuple):
    """One run of a job."""

    job_id: str
    began: float
    has_returned: bool


@dataclass
class Run:
    """The processes, and what happens to them."""

    server: PrivateServer
    load: Load
    folder: Path
    dice: random.Random
    kills: Counter[str] = field(default_factory=Counter[str])
    outages: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    slots: list[Slot] = field(default_factory=list[Slot])

    def begin(self) -> None:
        """Start the workers."""
        for number in range(self.load.workers):
            start = worker(self.folder, self.server.url, lease=LEASE, concurrency=50, app=APP)
            self.slots.append(Slot(f"w{number}", start))
            self.slots[-1].begin()

    def kill_a_worker(self) -> None:
        """Kill one that is at work, if there is one soon."""
        ends = time.monotonic() + 2
        while not (busy := [each for each in self.slots if self.is_at_work(each.life)]):
            if time.monotonic() > ends:
                busy = self.slots
                break
            time.sleep(0.005)
        slot = self.dice.choice(busy)
        slot.life.kill()
        slot.begin()
        self.kills["worker"] += 1

    def is_at_work(self, life: Life) -> bool:
        kinds = Counter(line.kind for line in journal.read(life.journal))
        return kinds["start"] > kinds["returned"]

    def kill_the_server(self) -> None:
        since = time.monotonic()
        self.server.kill()
        time.sleep(self.dice.choice([0, 0.2, 1.3 * LEASE]))  # how long it is away
        self.server.restart()
        self.outages.append((since, time.monotonic()))
        self.kills["server"] += 1

    def faults(self) -> list[Callable[[], None]]:
        """Return the faults in their order."""
        found = [self.kill_a_worker] * self.load.worker_kills
        found += [self.kill_the_server] * self.load.server_kills
        self.dice.shuffle(found)
        return found

    async def leave(self) -> None:
        """Let the dead be reaped and the living leave."""
        await eventually(
            lambda: all("Ready" in slot.life.stderr.read_text() for slot in self.slots), seconds=30
        )
        place = Place(self.server.url)
        await eventually(
            lambda: place.admin("ZCARD", f"{place.prefix}lw") == len(self.slots), seconds=30
        )
        place.admin.close()
        for slot in self.slots:
            slot.life.send(signal.SIGTERM)
        for slot in self.slots:
            code = await asyncio.to_thread(slot.life.leave, 30)
            assert code == 0, slot.life.stderr.read_text()[-2000:]

    def kill_all(self) -> None:
        for slot in self.slots:
            if slot.life.code is None:
                slot.life.kill()

    def lives(self) -> Iterator[Life]:
        for slot in self.slots:
            yield from slot.lives

    def executions(self) -> dict[str, list[Execution]]:
        """Read what the processes have written down, by the names of the tasks."""
        found: defaultdict[str, list[Execution]] = defaultdict(list)
        for life in self.lives():
            lines = list(journal.read(life.journal))
            returned = {line.words for line in lines if line.kind == "returned"}
            for kind, at, words in lines:
                if kind == "start":
                    name, job_id = words
                    found[name].append(Execution(job_id, at, words in returned))
        for each in found.values():
            each.sort(key=lambda execution: execution.began)
        return found


def make_chord(number: int, load: Load) -> Flow:
    names = [f"chord{number}.{n}" for n in range(load.members)]
    header = [member.s(name, n) for n, name in enumerate(names)]
    last = f"chord{number}.body"
    return Flow(chord(header, body.s(last)), [*names, last], sum(range(load.members)), 0)


def make_chain(number: int, load: Load) -> Flow:
    names = [f"chain{number}.{n}" for n in range(load.steps)]
    steps = [member.s(names[0], number), *[step.s(name) for name in names[1:]]]
    return Flow(chain(steps), names, number + load.steps - 1, 0)


def make_graph(number: int, dice: random.Random) -> Flow:
    nodes: dict[str, Composable[int]] = {}
    values: dict[str, int] = {}
    for n in range(dice.randint(2, 10)):
        before = sorted(dice.sample(sorted(values), dice.randint(0, min(len(values), 4))))
        signature = node.s(name=f"graph{number}.{n}")
        values[f"{n}"] = 1 + sum(values[each] for each in before)
        nodes[f"{n}"] = signature.after(*before) if before else signature
    names = [f"graph{number}.{n}" for n in range(len(nodes))]
    return Flow(app.graph(nodes), names, values, 1)


def all_flows(load: Load, dice: random.Random) -> list[Flow]:
    flows = [make_chord(n, load) for n in range(load.chords)]
    flows += [make_chain(n, load) for n in range(load.chains)]
    flows += [make_graph(n, dice) for n in range(load.graphs)]
    dice.shuffle(flows)
    return flows


@asynccontextmanager
async def started(load: Load, folder: Path) -> AsyncGenerator[Run]:
    seed = int(os.environ.get(SEED, load.seed))
    server = PrivateServer(appendonly=True, directory=folder / "server", arguments=AOF)
    with server:
        run = Run(server, load, folder, random.Random(seed))
        try:
            run.begin()
            yield run
        finally:
            run.kill_all()


async def send_amid_faults(run: Run, flows: list[Flow]) -> dict[str, Flow]:
    """Send everything, each part while some process dies; return the flows by their roots."""
    roots: dict[str, Flow] = {}
    faults, room = run.faults(), asyncio.Semaphore(20)

    async def send(flow: Flow) -> None:
        async with room:
            handle = await flow.composition.enqueue()
            roots[handle.id] = flow

    share = len(flows) // len(faults) + 1
    async with asyncio.TaskGroup() as group:
        for number, fault in enumerate(faults):
            for flow in flows[number * share : (number + 1) * share]:
                group.create_task(send(flow))
            await asyncio.sleep(run.dice.uniform(0.1, 0.6))  # the pace of the deaths
            await asyncio.to_thread(fault)
    return roots


async def survive(load: Load, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with started(load, folder) as run:
        flows = all_flows(load, run.dice)
        with app.connected_to(run.server.url):
            roots = await send_amid_faults(run, flows)
            async with asyncio.timeout(load.patience):
                handles = [app.job(root) for root in roots]
                results = await asyncio.gather(*[handle.result() for handle in handles])
            await app.aclose()
        await run.leave()
        place = Place(run.server.url)
        problems, jobs = place.problems(), _jobs(place, roots)
        records = len(place.admin("KEYS", f"{place.prefix}j:*"))
        place.admin.close()
        executions = run.executions()

    with capsys.disabled():
        sys.stdout.write(f"\n{figures(run, flows, executions)}\n")
    assert dict(zip(roots, results, strict=True)) == {
        root: flow.result for root, flow in roots.items()
    }
    assert problems == []
    assert records == sum(len(flow.names) + flow.gathers for flow in flows)
    for root, flow in roots.items():
        assert len(jobs[root]) == len(set(jobs[root])) == len(flow.names) + flow.gathers
        for name in flow.names:
            assert {each.job_id for each in executions[name]} <= set(jobs[root])
    assert set(executions) == {name for flow in flows for name in flow.names}
    assert wrong(run, executions) == []
    assert run.kills == {"worker": load.worker_kills, "server": load.server_kills}


def _jobs(place: Place, roots: dict[str, Flow]) -> dict[str, list[bytes]]:
    """Return the jobs of each workflow, as the server lists them."""
    return {
        root: [each.decode() for each in place.admin("LRANGE", f"{place.prefix}gm:{root}", 0, -1)]
        for root in roots
    }


def wrong(run: Run, executions: dict[str, list[Execution]]) -> list[str]:
    """Return the tasks that were two jobs, and the jobs that ran again without a reason."""
    found: list[str] = []
    for name, runs in executions.items():
        if len({each.job_id for each in runs}) != 1:
            found.append(f"{name} was several jobs: {runs}")
        found += [
            f"{name} returned and ran again: {runs}"
            for first, second in itertools.pairwise(runs)
            if first.has_returned and not _is_excused(run, first.began, second.began)
        ]
    return found


def _is_excused(run: Run, began: float, again: float) -> bool:
    """Tell whether its worker died, or its server was away, before the end was written down."""
    deaths = [(life.ended, life.ended) for life in run.lives()]
    return any(since <= again and until >= began for since, until in [*run.outages, *deaths])


def figures(run: Run, flows: list[Flow], executions: dict[str, list[Execution]]) -> str:
    """Lay the figures out."""
    rows: dict[str, object] = {
        "chords, chains, graphs": f"{run.load.chords:,}, {run.load.chains:,}, {run.load.graphs:,}",
        "tasks": f"{sum(len(flow.names) for flow in flows):,}",
        "kill -9 of a worker, of the server": f"{run.kills['worker']}, {run.kills['server']}",
        "runs": f"{sum(map(len, executions.values())):,}",
        "jobs that ran more than once": sum(len(runs) > 1 for runs in executions.values()),
    }
    return "\n".join(f"  {name:<42} {value}" for name, value in rows.items())


@pytest.mark.timeout(240)
async def test_every_body_and_every_next_step_is_one_job_whoever_dies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await survive(SMALL, tmp_path, capsys)


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_thousands_of_workflows_whoever_dies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await survive(FULL, tmp_path, capsys)
