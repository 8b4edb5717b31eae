"""A private server ends with its owner, whatever way that one dies, and not before."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from aioq.embedded import PrivateServer

from .processes import (
    WAYS_TO_DIE,
    Program,
    alive,
    parent_of,
    pid_at,
    processes_with,
    say,
    wait_until,
)

Run = Callable[..., Program]


@pytest.mark.parametrize(("way", "number"), WAYS_TO_DIE)
def test_server_and_folder_are_gone_when_the_owner(
    run: Run, way: str, number: signal.Signals | None
) -> None:
    owner = run("owner", way)
    server = owner.hear()
    owner.die(number)
    took = wait_until(lambda: not alive(server["pid"]) and not Path(server["directory"]).exists())
    assert took < 1


def test_ctrl_c_in_the_terminal_does_not_reach_the_server(run: Run) -> None:
    owner = run("draining_owner")
    server = owner.hear()
    owner.send_group(signal.SIGINT)
    assert owner.hear() == {"interrupted": True}
    assert pid_at(server["url"]) == server["pid"]


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_to_the_owners_group_does_not_leave_the_server_behind(
    run: Run, number: signal.Signals
) -> None:
    owner = run("owner", "wait")
    server = owner.hear()
    owner.send_group(number)
    wait_until(lambda: not alive(server["pid"]) and not Path(server["directory"]).exists())


def test_the_end_of_a_forked_child_is_not_the_end_of_the_server(run: Run) -> None:
    server = run("forking_owner", "child").hear()
    assert not alive(server["child"])
    assert pid_at(server["url"]) == server["pid"]


def test_a_forked_child_does_not_keep_the_server_of_its_dead_parent(run: Run) -> None:
    owner = run("forking_owner", "parent")
    server = owner.hear()
    owner.send(signal.SIGKILL)
    wait_until(lambda: not alive(server["pid"]) and not Path(server["directory"]).exists())
    assert alive(server["child"])
    os.kill(server["child"], signal.SIGKILL)


@pytest.mark.parametrize("data", ["in scratch", "kept"])
@pytest.mark.parametrize("fault", ["pause", "kill"])
def test_nothing_is_left_of_a_server_in_a_bad_state(
    run: Run, tmp_path: Path, fault: str, data: str
) -> None:
    owner = run("faulty_owner", fault, tmp_path if data == "kept" else "")
    server = owner.hear()
    assert owner.hear() == {"fault": fault}
    assert Path(server["scratch"]).exists()
    owner.die(signal.SIGKILL)
    wait_until(lambda: not alive(server["pid"]) and not Path(server["scratch"]).exists())


def test_the_server_ends_with_its_owner_also_without_its_watchdog(run: Run, sockets: Path) -> None:
    owner = run("owner", "wait")
    server = owner.hear()
    os.kill(parent_of(server["pid"]), signal.SIGKILL)
    assert say(server["url"], "PING") == "+PONG"
    owner.die(signal.SIGKILL)
    wait_until(lambda: not processes_with(sockets))
    # Only the watchdog could have removed it.
    (Path(server["directory"]) / "log").unlink()
    (Path(server["directory"]) / "s").unlink()
    Path(server["directory"]).rmdir()


def test_the_data_of_a_dead_owner_are_complete(run: Run, tmp_path: Path) -> None:
    owner = run("faulty_owner", "none", tmp_path)
    server = owner.hear()
    for number in range(100):
        say(server["url"], f"RPUSH list {number}")
    owner.die(signal.SIGKILL)
    wait_until(lambda: not Path(server["scratch"]).exists())
    with PrivateServer(appendonly=True, directory=tmp_path) as successor:
        assert say(successor.url, "LLEN list") == ":100"
