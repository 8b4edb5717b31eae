"""Contestants as processes: start them, read what they cost, stop them.

A contestant may fork (Celery does), so a process stands here for its whole session.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_REPOSITORY = Path(__file__).parent.parent
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_STOP_TIMEOUT = 15.0
_POLL = 0.005

# Fields of /proc/<pid>/stat, counted from the one after the process name (proc(5): from 1, name 2).
_SESSION, _USER, _SYSTEM, _RSS = 3, 11, 12, 21


class ContestantFailed(Exception):
    """A contestant's process ended in error or did not answer; the message holds its last words."""


@dataclass(frozen=True)
class Contender:
    """Who is measured: a name for the tables, the module to run, the Python that has it."""

    name: str
    module: str
    python: Path


class Process:
    """One running contestant; its answers are the JSON lines it prints."""

    def __init__(self, contender: Contender, verb: str, folder: Path, **options: object) -> None:
        self._name = f"{contender.name} {verb}"
        self._output = folder / f"{verb}.out"
        self._log = folder / f"{verb}.log"
        arguments = [
            part
            for name, value in options.items()
            for part in (f"--{name.replace('_', '-')}", str(value))
        ]
        with self._output.open("wb") as output, self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [contender.python, "-m", contender.module, verb, *arguments],
                cwd=_REPOSITORY,
                stdout=output,
                stderr=log,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process started, which is also the id of its session."""
        return self._process.pid

    def answer(self, number: int = 0, *, timeout: float) -> dict[str, Any]:
        """Wait for the answer of this number, counted from 0."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            ended = self._process.poll() is not None
            answers = [
                line for line in self._output.read_text().splitlines() if line.startswith("{")
            ]
            if len(answers) > number:
                return json.loads(answers[number])
            if ended:
                break
            time.sleep(_POLL)
        raise self._failure("gave no answer")

    def check(self) -> None:
        """Raise: ContestantFailed if the process has ended, which no worker should by itself."""
        if self._process.poll() is not None:
            raise self._failure(f"ended with code {self._process.returncode}")

    def rss(self) -> int:
        """Return the resident memory in bytes; pages shared after a fork count in each process."""
        return sum(int(stat[_RSS]) for stat in _session_stats(self.pid)) * _PAGE

    def cpu_seconds(self) -> float:
        """Return the CPU used so far, user and system."""
        return cpu_seconds(self.pid)

    def stop(self) -> None:
        """Ask politely, then end whatever is left of the session."""
        with suppress(ProcessLookupError):
            self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_TIMEOUT)
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def _failure(self, what: str) -> ContestantFailed:
        last_words = self._log.read_text(errors="replace").strip().splitlines()[-12:]
        return ContestantFailed("\n    ".join([f"{self._name} {what}", *last_words]))


def cpu_seconds(session: int) -> float:
    """Return the CPU used by a process and those it started, user and system."""
    ticks = sum(int(stat[_USER]) + int(stat[_SYSTEM]) for stat in _session_stats(session))
    return ticks / _TICKS


def _session_stats(session: int) -> Iterator[list[str]]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(FileNotFoundError, ProcessLookupError):
            # The name, in parentheses, may hold blanks.
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(stat[_SESSION]) == session:
                yield stat
