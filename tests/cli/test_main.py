"""The list of commands, and what it costs."""

import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import click
import pytest

from aioq.cli.main import SECTIONS, find_stranger
from tests.cli.conftest import Project
from tests.cli.terminal import Terminal

ENTRIES = {name: entry for section in SECTIONS.values() for name, entry in section.items()}


@pytest.fixture
def anywhere(tmp_path: Path) -> Terminal:
    """A terminal without a server."""
    return Terminal(tmp_path)


def test_help_lists_the_commands_in_groups(anywhere: Terminal) -> None:
    done = anywhere.run("--help")

    assert (done.code, done.err) == (0, "")
    for title, entries in SECTIONS.items():
        assert f"{title}:\n" in done.out
        for name, entry in entries.items():
            assert f"{name} " in done.out
            assert entry.help in done.out


def test_version(anywhere: Terminal) -> None:
    done = anywhere.run("--version")

    assert (done.code, done.out) == (0, "aioq 0.1.0\n")


def test_no_command_is_wrong_usage(anywhere: Terminal) -> None:
    done = anywhere.run()

    assert done.code == 2
    assert "worker" in done.err


@pytest.mark.parametrize("word", ["--help", "--version"])
def test_the_list_imports_nothing_heavy(word: str) -> None:
    program = (
        "import sys\nfrom aioq.__main__ import main\n"
        f"try:\n    main([{word!r}])\nexcept SystemExit:\n    pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = set(done.stderr.split())

    assert loaded.isdisjoint({"redis", "msgspec", "anyio", "asyncio", "importlib.metadata"})
    assert {each for each in loaded if each.startswith("aioq")} == {
        "aioq", "aioq.__main__", "aioq.cli", "aioq.cli.main"
    }  # fmt: skip


def test_the_list_is_there_at_once(anywhere: Terminal) -> None:
    def seconds() -> float:
        start = time.perf_counter()
        anywhere.run("--help")
        return time.perf_counter() - start

    # 0.05 s on a quiet machine, of which 0.03 s are click; this one runs other things as well.
    assert min(seconds() for _ in range(5)) < 0.3


@pytest.mark.parametrize("name", ENTRIES)
def test_each_command_is_there_and_says_the_same_of_itself(name: str, project: Project) -> None:
    entry = ENTRIES[name]
    command = getattr(import_module(entry.module), entry.attribute)
    done = project.run(name, "--help")

    assert isinstance(command, click.Command)
    assert command.name == name
    assert done.exit_code == 0
    assert done.output.startswith(f"Usage: aioq {name} ")


def test_an_unknown_command_names_the_nearest(project: Project) -> None:
    done = project.run("wroker")

    assert done.exit_code == 2
    assert "Did you mean 'worker'?" in done.stderr


def test_the_other_package_of_this_name_is_refused(anywhere: Terminal) -> None:
    (anywhere.folder / "aioq-0.3.1.dist-info").mkdir()
    done = anywhere.run("--help")

    assert done.code == 1
    assert "another package named 'aioq'" in done.err
    assert "pip uninstall" in done.err


def test_our_own_distribution_is_no_stranger(tmp_path: Path) -> None:
    (tmp_path / "aioq_tasks-0.1.0.dist-info").mkdir()

    assert find_stranger([str(tmp_path), "/does/not/exist"]) is None
    assert find_stranger(sys.path) is None


def test_the_look_for_a_stranger_is_cheap() -> None:
    start = time.perf_counter()
    for _ in range(10):
        find_stranger(sys.path)

    assert (time.perf_counter() - start) / 10 < 0.01
