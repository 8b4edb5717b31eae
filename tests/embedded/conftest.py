"""Every test gets its own place for sockets, and must leave neither process nor file in it."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aioq.embedded import guardian

from .processes import LINGER, Program, processes_with, wait_until


@pytest.fixture(autouse=True)
def sockets(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """The folder for sockets and scratch folders; check that it is left as it was."""
    # pytest must have chosen its own folder by the time that TMPDIR changes.
    tmp_path_factory.getbasetemp()
    # pytest's own folders are too long for a socket on macOS.
    folder = Path(tempfile.mkdtemp(prefix="aioq-test-", dir="/tmp"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(guardian, "LINGER", LINGER)
    monkeypatch.setenv("TEST_LINGER", str(LINGER))
    yield folder
    wait_until(lambda: not processes_with(folder))
    left = [path for path in folder.rglob("*") if path != folder / f"aioq-{os.geteuid()}"]
    shutil.rmtree(folder)
    assert not left


@pytest.fixture
def run(sockets: Path) -> Iterator[Callable[..., Program]]:
    """Run one of `programs/`; it is killed at the end of the test."""
    programs: list[Program] = []

    def start(name: str, *arguments: str | Path) -> Program:
        programs.append(Program(name, *arguments))
        return programs[-1]

    yield start
    for program in programs:
        program.clean_up()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """An empty project."""
    (tmp_path / "pyproject.toml").touch()
    return tmp_path
