"""Every test gets a place of its own for sockets, and leaves neither process nor file there."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aioq.embedded import guardian

from .processes import LINGER, Program, processes_with, wait_until


@pytest.fixture(scope="module", autouse=True)
def used_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Collect the folders of the tests, and check that each is left empty and unused.

    Once for all, so that servers come to their end side by side.
    """
    # pytest must have chosen its own folder by the time that TMPDIR changes.
    tmp_path_factory.getbasetemp()
    folders: dict[str, Path] = {}
    yield folders
    for test, folder in folders.items():
        # A watchdog's helper whose server was killed may look for it for another ten seconds.
        wait_until(lambda folder=folder: not processes_with(folder), 15)
        left = [path for path in folder.rglob("*") if path != folder / f"aioq-{os.geteuid()}"]
        shutil.rmtree(folder)
        assert not left, f"{test} has left {left}"


@pytest.fixture(autouse=True)
def sockets(
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    used_folders: dict[str, Path],
) -> Path:
    """The folder for sockets and scratch folders."""
    # pytest's own folders are too long for a socket on macOS.
    folder = Path(tempfile.mkdtemp(prefix="aioq-test-", dir="/tmp"))
    used_folders[request.node.name] = folder
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(guardian, "LINGER", LINGER)
    monkeypatch.setenv("TEST_LINGER", str(LINGER))
    return folder


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
