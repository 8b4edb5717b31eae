"""One server for all processes of a project."""

import os
import shutil
import signal
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from aioq.core.errors import ConfigurationError
from aioq.embedded import SharedServer, guardian

from .processes import (
    LONGER_THAN_IT_LINGERS,
    REAL_LINGER,
    WAYS_TO_DIE,
    Program,
    alive,
    guardian_at,
    parent_of,
    pid_at,
    say,
    wait_until,
)

Run = Callable[..., Program]


def wait_for_the_end(pid: int) -> None:
    wait_until(lambda: not alive(pid))


def test_whoever_comes_first_starts_it_and_the_others_join(run: Run, project: Path) -> None:
    with SharedServer(project) as first:
        assert first.started
        say(first.url, "SET key value")
        second = run("client", project, "wait").hear()
        assert not second["started"]
        assert second["url"] == first.url
        with SharedServer(project) as third:
            assert not third.started
            assert say(third.url, "GET key").endswith("value")


def test_two_projects_have_a_server_each(tmp_path: Path) -> None:
    with SharedServer(tmp_path / "one") as one, SharedServer(tmp_path / "two") as two:
        assert two.started
        assert pid_at(one.url) != pid_at(two.url)


def test_its_data_lie_in_the_project_hidden_from_git(project: Path) -> None:
    with SharedServer(project) as server:
        assert server.directory == project / ".aioq"
        assert stat.S_IMODE(server.directory.stat().st_mode) == 0o700
        assert (server.directory / ".gitignore").read_text() == "*\n"
        assert (server.directory / "appendonlydir").is_dir()


def test_the_users_own_folder_is_not_hidden_from_git(project: Path) -> None:
    with SharedServer(project, folder="") as server:
        assert server.directory == project
        assert not (project / ".gitignore").exists()


def test_it_listens_on_no_port_and_evicts_nothing(project: Path) -> None:
    with SharedServer(project) as server:
        assert say(server.url, "CONFIG GET port").endswith("\r\n0")
        assert say(server.url, "CONFIG GET maxmemory-policy").endswith("noeviction")
        assert say(server.url, "CONFIG GET appendfsync").endswith("everysec")


@pytest.mark.parametrize(("way", "number"), WAYS_TO_DIE)
def test_it_stops_with_its_data_complete_when_the_last_client(
    run: Run, project: Path, way: str, number: signal.Signals | None
) -> None:
    client = run("client", project, way)
    url = client.hear()["url"]
    pid = pid_at(url)
    say(url, "INCR key")
    client.die(number)
    wait_for_the_end(pid)
    with SharedServer(project) as again:
        assert again.started
        assert again.url == url
        assert say(url, "GET key").endswith("1")
        assert "bye bye" in again.log


def test_it_stops_when_the_last_client_has_closed(project: Path) -> None:
    with SharedServer(project) as server:
        pid = pid_at(server.url)
    wait_for_the_end(pid)


def test_it_waits_a_moment_for_a_command_that_follows_another(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guardian, "LINGER", REAL_LINGER)
    with SharedServer(project) as server:
        pid = pid_at(server.url)
    with SharedServer(project) as following:
        assert not following.started
    assert wait_until(lambda: not alive(pid)) < 1.5


def test_it_lives_as_long_as_one_client_does(run: Run, project: Path) -> None:
    first, second = run("client", project, "wait"), run("client", project, "wait")
    url = first.hear()["url"]
    second.hear()
    pid = pid_at(url)
    first.die(signal.SIGKILL)
    with pytest.raises(AssertionError, match="still not true"):
        wait_until(lambda: not alive(pid), LONGER_THAN_IT_LINGERS)
    second.die(signal.SIGKILL)
    wait_for_the_end(pid)


def test_ctrl_c_in_the_terminal_does_not_reach_it(run: Run, project: Path) -> None:
    client = run("client", project, "wait")
    with SharedServer(project) as server:
        pid = pid_at(client.hear()["url"])
        client.send_group(signal.SIGINT)
        client.die(None)
        assert pid_at(server.url) == pid


def test_a_program_that_a_client_executes_does_not_keep_it(run: Run, project: Path) -> None:
    client = run("client", project, "wait", "executes")
    facts = client.hear()
    pid = pid_at(facts["url"])
    client.die(signal.SIGKILL)
    wait_for_the_end(pid)
    assert alive(facts["child"])
    os.kill(facts["child"], signal.SIGKILL)


def test_a_forked_child_of_a_client_keeps_it(run: Run, project: Path) -> None:
    client = run("client", project, "wait", "forks")
    facts = client.hear()
    pid = pid_at(facts["url"])
    client.die(signal.SIGKILL)
    with pytest.raises(AssertionError, match="still not true"):
        wait_until(lambda: not alive(pid), LONGER_THAN_IT_LINGERS)
    os.kill(facts["child"], signal.SIGKILL)
    wait_for_the_end(pid)


def test_opening_it_leaves_the_client_without_a_child_process(project: Path) -> None:
    with SharedServer(project) as server:
        assert parent_of(guardian_at(server.url)) != os.getpid()


def test_threads_may_open_it_at_the_same_time(project: Path) -> None:
    servers = [SharedServer(project) for _ in range(8)]
    threads = [threading.Thread(target=server.open) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(server.started for server in servers) == 1
    assert len({pid_at(server.url) for server in servers}) == 1
    for server in servers:
        server.close()


def test_closing_it_twice_is_closing_it_once(project: Path) -> None:
    server = SharedServer(project).open()
    server.close()
    server.close()


def test_it_has_no_url_unless_it_is_open(project: Path) -> None:
    server = SharedServer(project)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="not open"):
            _ = server.url
        with server:
            assert server.url


def test_processes_that_disagree_about_the_folder_for_sockets_share_it_all_the_same(
    project: Path, sockets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SharedServer(project) as first:
        monkeypatch.setenv("XDG_RUNTIME_DIR", "/nonexistent")
        with SharedServer(project) as second:
            assert second.url == first.url
    assert Path(first.directory / "socket").read_text().split()[1].startswith(str(sockets))


def test_a_folder_that_was_copied_has_a_server_of_its_own(tmp_path: Path) -> None:
    with SharedServer(tmp_path / "one") as one:
        say(one.url, "SET key value")
        shutil.copytree(tmp_path / "one", tmp_path / "two")
        with SharedServer(tmp_path / "two") as two:
            assert two.started
            assert two.url != one.url


def test_a_project_that_was_moved_keeps_its_running_server(tmp_path: Path) -> None:
    with SharedServer(tmp_path / "one") as one:
        (tmp_path / "one").rename(tmp_path / "two")
        with SharedServer(tmp_path / "two") as two:
            assert not two.started
            assert two.url == one.url


def test_a_folder_deleted_under_a_running_server_gets_a_new_one(project: Path) -> None:
    # As `git clean` does.
    with SharedServer(project) as old:
        pid = pid_at(old.url)
        shutil.rmtree(old.directory)
        with SharedServer(project) as new:
            assert new.started
            assert new.url != old.url
            old.close()
            wait_for_the_end(pid)
            assert say(new.url, "PING") == "+PONG"


@pytest.mark.parametrize(
    "name",
    ['it\'s "żółć" \\x %20#?', "x" * 200, "two\nlines"],
    ids=["special", "long", "newline"],
)
def test_the_project_may_lie_in_an_unusual_path(tmp_path: Path, name: str) -> None:
    project = tmp_path / name
    with SharedServer(project) as server, SharedServer(project) as second:
        assert say(server.url, "SET key value") == "+OK"
        assert second.url == server.url


def test_a_link_to_the_project_is_the_project(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with SharedServer(tmp_path / "real") as one, SharedServer(tmp_path / "link") as two:
        assert two.url == one.url


def mode_0755(folder: Path) -> None:
    folder.mkdir(mode=0o755)


def link(folder: Path) -> None:
    folder.with_name("elsewhere").mkdir(mode=0o700)
    folder.symlink_to("elsewhere")


def file(folder: Path) -> None:
    folder.touch()


def another_users(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    os.chown(folder, 12345, 12345)


@pytest.mark.parametrize("plant", [mode_0755, link, file, another_users])
def test_a_folder_for_sockets_that_others_may_control_is_refused(
    project: Path, sockets: Path, plant: Callable[[Path], None]
) -> None:
    if plant is another_users and os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    folder = sockets / f"aioq-{os.geteuid()}"
    plant(folder)
    with pytest.raises(ConfigurationError, match=f"{folder} must be .* belongs to you"):
        SharedServer(project).open()
    shutil.rmtree(sockets)
    sockets.mkdir()


def test_a_recorded_socket_in_a_folder_of_others_is_not_trusted(
    project: Path, sockets: Path
) -> None:
    with SharedServer(project) as server:
        open_to_all = sockets / "open"
        open_to_all.mkdir(mode=0o777)
        record = server.directory / "socket"
        genuine = record.read_text()
        record.write_text(f"{server.directory}\n{open_to_all}/planted.sock\n")
        with pytest.raises(ConfigurationError, match="does not name a socket"):
            SharedServer(project).open()
        record.write_text(genuine)
    open_to_all.rmdir()


def test_a_locale_that_is_not_installed_is_no_obstacle(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "xx_YY.UTF-8")
    with SharedServer(project) as server:
        assert "LOCALE" not in server.log


def test_a_folder_that_cannot_hold_data_is_an_error_that_names_it(project: Path) -> None:
    (project / ".aioq").touch()
    with pytest.raises(ConfigurationError, match=rf"(?s){project}/\.aioq.*embedded:///"):
        SharedServer(project).open()


def test_data_that_cannot_be_read_are_an_error_that_quotes_the_log(project: Path) -> None:
    with SharedServer(project) as server:
        pid = pid_at(server.url)
    wait_for_the_end(pid)
    next(server.directory.glob("appendonlydir/*.manifest")).write_text("nonsense\n")
    with pytest.raises(ConfigurationError, match=r"(?s)Its log.*nonsense.*Mend"):
        SharedServer(project).open()


def test_a_missing_binary_is_an_error_and_holds_nothing(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("AIOQ_SERVER_BIN", "/nonexistent")
        with pytest.raises(ConfigurationError, match="AIOQ_SERVER_BIN"):
            SharedServer(project).open()
    with SharedServer(project) as server:
        assert server.started


def test_a_log_that_has_grown_large_begins_anew(project: Path) -> None:
    directory = project / ".aioq"
    directory.mkdir()
    (directory / "server.log").write_bytes(b"x" * 1_000_001)
    with SharedServer(project) as server:
        assert len(server.log) < 10_000


def test_wait_returns_when_the_server_has_ended(project: Path) -> None:
    with SharedServer(project) as server:
        waiting = threading.Thread(target=server.wait)
        waiting.start()
        wait_until(lambda: "connected_clients:2" in say(server.url, "INFO clients"))
        # An administrator's command is not the end.
        say(server.url, "CLIENT KILL TYPE normal")
        wait_until(lambda: "connected_clients:2" in say(server.url, "INFO clients"))
        assert waiting.is_alive()
        os.kill(pid_at(server.url), signal.SIGKILL)
        waiting.join(2)
        assert not waiting.is_alive()


def test_signals_that_the_client_blocks_or_ignores_still_end_the_server(project: Path) -> None:
    server = SharedServer(project)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    ignored = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        server.open()
    finally:
        signal.signal(signal.SIGTERM, ignored)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    pid = pid_at(server.url)
    server.close()
    wait_for_the_end(pid)


def test_a_stale_socket_is_no_obstacle(project: Path) -> None:
    with SharedServer(project) as server:
        path, pid = server.socket_path, pid_at(server.url)
    wait_for_the_end(pid)
    wait_until(lambda: not path.exists())
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    with SharedServer(project) as again:
        assert again.socket_path == path
        assert say(again.url, "PING") == "+PONG"
