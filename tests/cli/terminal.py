"""A user's terminal: commands run as processes in a folder, with nothing of ours around them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

AIOQ = [sys.executable, "-m", "aioq"]
PATIENCE = 20.0
"""Seconds until a test is given up; nothing takes so long."""


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401 - whatever was printed
        return json.loads(self.out)


class Running:
    """A command that runs; what it says on stderr lies in a file."""

    def __init__(
        self, arguments: tuple[str, ...], folder: Path, environ: Mapping[str, str]
    ) -> None:
        count = len(list(folder.glob("stderr-*")))
        self._stderr = folder / f"stderr-{count}"
        with self._stderr.open("wb") as stderr:
            self._process = subprocess.Popen(
                [*AIOQ, *arguments],
                cwd=folder,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                start_new_session=True,
            )
        self.pid = self._process.pid

    @property
    def err(self) -> str:
        return self._stderr.read_text()

    def hear(self) -> str:
        """Return the next line on stdout."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def says(self, text: str, *, times: int = 1) -> None:
        """Wait until it has said something on stderr."""
        wait_until(lambda: self.err.count(text) >= times, lambda: f"{text!r} in {self.err}")

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def send_until_it_ends(self, number: signal.Signals) -> None:
        """Send a signal again and again: two that come at once may count as one."""

        def ends() -> bool:
            self.send(number)
            return self._process.poll() is not None

        wait_until(ends)

    def send_until_it_says(self, number: signal.Signals, text: str) -> None:
        """Send a signal again and again, until the answer to one of them is there."""

        def answers() -> bool:
            self.send(number)
            return text in self.err

        wait_until(answers, lambda: f"{text!r} in {self.err}")

    def interrupt(self) -> None:
        """Press Ctrl-C: every process of the terminal hears it."""
        os.killpg(self.pid, signal.SIGINT)

    def end(self) -> Ended:
        """Wait for its end."""
        out, _ = self._process.communicate(timeout=PATIENCE)
        return Ended(self._process.returncode, out, self.err)

    def kill(self) -> None:
        """Kill it and its children, where the test has not seen its end."""
        if self._process.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)

    def clean_up(self) -> None:
        """Leave nothing of it behind."""
        self.kill()
        self._process.communicate()


class Terminal:
    """Runs commands in a folder."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AIOQ_")}
        self.environ = {**kept, "NO_COLOR": "1", **environ}
        self._running: list[Running] = []

    def write(self, name: str, text: str) -> Path:
        """Write a file of the user's."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def run(self, *arguments: str, **environ: str) -> Ended:
        """Run a command to its end."""
        done = subprocess.run(
            [*AIOQ, *arguments],
            cwd=self.folder,
            env={**self.environ, **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str, **environ: str) -> Running:
        """Start a command."""
        started = Running(arguments, self.folder, {**self.environ, **environ})
        self._running.append(started)
        return started

    def start_worker(self, *arguments: str, **environ: str) -> Running:
        """Start a worker, and return when it takes jobs."""
        worker = self.start("worker", *arguments, **environ)
        worker.says("Ready")
        return worker

    def enqueue(self, *arguments: str) -> str:
        """Enqueue a job; return its id."""
        done = self.run("enqueue", *arguments)
        assert done.code == 0, done
        return done.out.strip()

    def state(self, job_id: str) -> str:
        """Return the state of a job."""
        return self.run("result", job_id).out.splitlines()[0]

    def kill(self) -> None:
        for each in self._running:
            each.kill()

    def clean_up(self) -> None:
        for each in self._running:
            each.clean_up()


def wait_until(
    predicate: Callable[[], object],
    tell: Callable[[], object] | None = None,
    *,
    seconds: float = PATIENCE,
) -> None:
    """Wait for a condition; the only place of these tests that sleeps.

    Args:
        predicate: the condition.
        tell: what to tell where it does not come true.
        seconds: how long it may take.
    """
    deadline = time.monotonic() + seconds
    while not predicate():
        assert time.monotonic() < deadline, f"not in time: {tell() if tell else predicate}"
        time.sleep(0.01)


def processes_in(folder: Path) -> list[str]:
    """Return the command lines that name a folder: its servers."""
    lines = subprocess.run(
        ["ps", "-eo", "pid=,args="], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [line for line in lines if str(folder) in line]


def alive(pid: int) -> bool:
    """Tell whether a process exists and is no zombie."""
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout
    return state.strip()[:1] not in ("", "Z")
