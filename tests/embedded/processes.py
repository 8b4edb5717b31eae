"""What the tests need to know about processes: are they alive, and how to make them die."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from redis import Redis

from aioq.embedded import guardian, server

# Found at once, since some tests empty PATH.
_PS = shutil.which("ps") or "/bin/ps"
TESTS = Path(__file__).parents[1]

REAL_LINGER = guardian.LINGER
"""How long they linger for users."""
LINGER = 0.05
"""How long shared servers linger in the tests, so that these are quick."""
LONGER_THAN_IT_LINGERS = 0.3
"""After this time without clients, a shared server of the tests is gone."""

WAYS_TO_DIE = [
    pytest.param("return", None, id="returns"),
    pytest.param("raise", None, id="raises"),
    pytest.param("os._exit", None, id="os._exit"),
    pytest.param("wait", signal.SIGTERM, id="SIGTERM"),
    pytest.param("wait", signal.SIGHUP, id="SIGHUP"),
    pytest.param("wait", signal.SIGINT, id="SIGINT"),
    pytest.param("wait", signal.SIGKILL, id="SIGKILL"),
]
"""What the program does at its end, and the signal that it gets where it would wait for ever."""


class Program:
    """One of `programs/`, in a process group of its own.

    It tells what it knows in lines of JSON.
    """

    def __init__(self, name: str, *arguments: str | Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"embedded.programs.{name}", *map(str, arguments)],
            cwd=TESTS,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.pid = self._process.pid

    def hear(self) -> dict[str, Any]:
        """Wait for the next thing that it tells."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the program said nothing: {self.wait()}"
        return json.loads(line)

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def send_group(self, number: signal.Signals) -> None:
        os.killpg(self.pid, number)

    def die(self, number: signal.Signals | None) -> None:
        """Wait for the end, and send the signal for it if there is one."""
        if number is not None:
            self.send(number)
        self._process.wait(5)

    def wait(self) -> str:
        """Close its stdin, wait for its end, and return what it printed on stderr."""
        return self._process.communicate(timeout=5)[1]

    def clean_up(self) -> None:
        self._process.kill()
        self._process.communicate()


def wait_until(predicate: Callable[[], object], timeout: float = 5.0) -> float:
    """Return how many seconds it took until the predicate was true. Nothing else sleeps."""
    start = time.monotonic()
    while not predicate():
        assert time.monotonic() < start + timeout, f"still not true after {timeout} seconds"
        time.sleep(0.005)
    return time.monotonic() - start


def alive(pid: int) -> bool:
    """Tell whether a process exists and is no zombie."""
    return _ps("-o", "stat=", "-p", str(pid)).strip()[:1] not in ("", "Z")


def parent_of(pid: int) -> int:
    return int(_ps("-o", "ppid=", "-p", str(pid)))


def processes_with(text: str | Path) -> list[str]:
    """Return the command lines that contain the text."""
    return [
        line for line in _ps("-eww", "-o", "pid=", "-o", "args=").splitlines() if str(text) in line
    ]


def say(url: str, words: str) -> str:
    """Send a command to the server at a `unix://` URL; empty if nobody replies."""
    return server.ask(Path(unquote(url.removeprefix("unix://"))), words, timeout=0.5).strip()


def redis_client(url: str) -> Any:  # noqa: ANN401
    """Return redis-py's client for a URL, whose own types are unknown in part."""
    return Redis.from_url(url)  # pyright: ignore[reportUnknownMemberType]


def pid_at(url: str) -> int:
    """Return the process id of the server that answers there."""
    reply = say(url, "INFO server")
    return int(reply.partition("process_id:")[2].split()[0])


def watchdog_at(url: str) -> int:
    """Return the process id of the shell that runs the server there."""
    return parent_of(pid_at(url))


def guardian_at(url: str) -> int:
    """Return the process id of the guardian of the shared server there."""
    return parent_of(watchdog_at(url))


def _ps(*arguments: str) -> str:
    return subprocess.run([_PS, *arguments], capture_output=True, text=True, check=False).stdout
