"""Sixty schedules of one second, and five workers that are killed: each occurrence is one job."""

import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from aioq.broker import schedules
from aioq.broker.keys import Keys
from aioq.embedded import PrivateServer
from tests.broker.place import Admin
from tests.cli.terminal import Running, Terminal, wait_until

SCHEDULES, WORKERS = 60, 5
KEYS = Keys("aioq")
TASKS = f"""
from aioq import Aioq, every

app = Aioq()


@app.task
async def tick() -> None: ...


for n in range({SCHEDULES}):
    # On a machine that stands still for long, late is late and still one job.
    app.schedule(f"s{{n}}", tick.s(), every(1), missed="all")
"""


class Run:
    """Workers that are killed, and what the schedules say of it."""

    def __init__(self, terminal: Terminal, admin: Admin) -> None:
        self._terminal = terminal
        self._admin = admin
        self._random = random.Random()
        self._workers: list[Running] = []
        self.kills = 0
        self.fired: dict[str, set[int]] = {f"s{n}": set() for n in range(SCHEDULES)}
        """The occurrences of each schedule, in ms."""
        self.seen = Counter[tuple[str, str]]()
        """Each line of each history, once."""

    def start(self) -> None:
        while len(self._workers) < WORKERS:
            worker = self._terminal.start("worker", "tasks:app", "--concurrency", "20")
            self._workers.append(worker)

    def are_ready(self) -> list[Running]:
        return [each for each in self._workers if "Ready" in each.err]

    def kill_some(self) -> None:
        """Kill at random, and leave one that is ready; others take the places of the dead."""
        ready = self.are_ready()
        for each in self._random.sample(ready, self._random.randint(0, len(ready) - 1)):
            each.send(signal.SIGKILL)
            each.end()
            self._workers.remove(each)
            self.kills += 1
        self.start()

    def read_histories(self) -> None:
        for name, occurrences in self.fired.items():
            lines: list[bytes] = self._admin("LRANGE", f"{KEYS.prefix}ch:{name}", 0, -1)
            for line in map(bytes.decode, lines):
                what, at_ms, _, _ = line.split()
                assert what == "f", line
                occurrences.add(int(at_ms))
                self.seen[name, line] = 1

    def pause(self) -> None:
        for name in self.fired:
            call = schedules.change(KEYS.prefix, name=name, op=schedules.PAUSE)
            self._admin.run(call)

    def unfinished(self) -> int:
        return sum(
            self._admin("HGET", f"{KEYS.prefix}j:cron:{name}:{at_ms}", "s") != b"c"
            for name, occurrences in self.fired.items()
            for at_ms in occurrences
        )

    def jobs(self) -> Counter[str]:
        """Count the jobs there are, by schedule."""
        found: list[bytes] = self._admin("KEYS", f"{KEYS.prefix}j:*")
        return Counter(each.decode().split(":")[3] for each in found)


def check(server: PrivateServer, folder: Path, seconds: float) -> None:
    terminal = Terminal(folder, AIOQ_URL=server.url, AIOQ_LEASE="2")
    terminal.write("tasks.py", TASKS)
    admin = Admin(server.url)
    run = Run(terminal, admin)
    try:
        run.start()
        wait_until(lambda: len(run.are_ready()) >= 2, seconds=60)
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            time.sleep(2.5)  # the pace of the deaths
            run.kill_some()
            run.read_histories()
        run.pause()
        run.read_histories()
        wait_until(lambda: run.unfinished() == 0, run.unfinished, seconds=60)
    finally:
        terminal.clean_up()
    for name, occurrences in run.fired.items():
        first, last = min(occurrences), max(occurrences)
        assert sorted(occurrences) == list(range(first, last + 1, 1000)), f"{name} has a hole"
        lines = [line for each, line in run.seen if each == name]
        assert len(lines) == len(occurrences), f"an occurrence of {name} was fired twice"
        assert len(occurrences) >= seconds * 0.8
    assert run.jobs() == {name: len(each) for name, each in run.fired.items()}
    assert run.kills >= seconds / 10
    admin.close()


@pytest.mark.timeout(300)
def test_each_occurrence_is_one_job_whoever_dies(tmp_path: Path, program: Path) -> None:
    with PrivateServer() as server:
        check(server, tmp_path, 60)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_each_occurrence_is_one_job_whoever_dies_for_five_minutes(
    tmp_path: Path, program: Path
) -> None:
    with PrivateServer() as server:
        check(server, tmp_path, 300)
