"""What a private server does while its owner lives."""

import asyncio
import os
import signal
import socket
import stat
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from aioq.core.errors import ConfigurationError
from aioq.embedded import PrivateServer

from .processes import (
    Program,
    alive,
    pid_at,
    processes_with,
    redis_client,
    say,
    wait_until,
)


def socket_of(server: PrivateServer) -> Path:
    return Path(server.url.removeprefix("unix://"))


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def test_redis_clients_accept_its_url() -> None:
    with PrivateServer() as server, redis_client(server.url) as client:
        assert client.ping()
        assert client.info("server")["process_id"] == server.pid


def test_only_its_user_can_reach_it() -> None:
    with PrivateServer() as server:
        assert say(server.url, "CONFIG GET port").endswith("\r\n0")
        folder = socket_of(server).parent
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE(socket_of(server).stat().st_mode) == 0o700


def test_it_writes_nothing_but_its_log() -> None:
    with PrivateServer() as server:
        say(server.url, "SET key value")
        assert {path.name for path in server.directory.iterdir()} == {"s", "log"}
    assert not anything_left()


def test_stopping_it_ends_the_process_and_removes_the_folder() -> None:
    server = PrivateServer().start()
    pid, directory = server.pid, server.directory
    server.stop()
    assert not alive(pid)
    assert not directory.exists()


def test_stopping_it_twice_is_stopping_it_once() -> None:
    server = PrivateServer().start()
    server.stop()
    server.stop()


def test_it_can_be_started_again_after_it_was_stopped() -> None:
    server = PrivateServer()
    for _ in range(2):
        with server:
            assert say(server.url, "PING") == "+PONG"


def test_starting_it_twice_is_an_error() -> None:
    with PrivateServer() as server, pytest.raises(ConfigurationError, match="running already"):
        server.start()


def test_it_has_no_url_before_it_is_started() -> None:
    with pytest.raises(ConfigurationError, match="not running"):
        _ = PrivateServer().url


def test_an_exception_in_the_block_stops_it() -> None:
    server = PrivateServer()
    with pytest.raises(ZeroDivisionError), server:
        _ = 1 / 0
    assert not anything_left()


def test_async_with_leaves_the_loop_free() -> None:
    async def count_turns_of_the_loop() -> int:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0.001)
                turns += 1

        counting = asyncio.create_task(count())
        async with PrivateServer() as server:
            assert await asyncio.to_thread(say, server.url, "PING") == "+PONG"
        counting.cancel()
        return turns

    # Starting takes some 40 ms. A loop that it blocks would not turn at all.
    assert asyncio.run(count_turns_of_the_loop()) >= 5


def test_it_starts_and_stops_fast() -> None:
    def time_one() -> float:
        start = time.perf_counter()
        PrivateServer().start().stop()
        return time.perf_counter() - start

    assert min(time_one() for _ in range(5)) < 0.1


def test_many_at_once_are_all_different() -> None:
    def use(name: int) -> str:
        with PrivateServer() as server:
            say(server.url, f"SET name {name}")
            assert pid_at(server.url) == server.pid
            return say(server.url, "GET name").split()[-1]

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(use, range(8))) == [str(name) for name in range(8)]


def test_four_processes_at_once_have_one_each(run: Callable[..., Program]) -> None:
    programs = [run("owner", "wait") for _ in range(4)]
    facts = [program.hear() for program in programs]
    assert len({fact["url"] for fact in facts}) == 4
    assert all(pid_at(fact["url"]) == fact["pid"] for fact in facts)


def test_it_listens_on_a_port_as_well(free_port: int) -> None:
    with PrivateServer(port=free_port) as server:
        with redis_client(f"redis://127.0.0.1:{free_port}") as client:
            assert client.info("server")["process_id"] == server.pid
        assert say(server.url, "CONFIG GET bind").endswith("127.0.0.1")


def test_a_port_that_is_taken_is_an_error_that_quotes_the_log(free_port: int) -> None:
    with (
        socket.create_server(("127.0.0.1", free_port)),
        pytest.raises(ConfigurationError, match="Address already in use"),
    ):
        PrivateServer(port=free_port).start()
    assert not anything_left()


def test_it_takes_any_option_of_the_server() -> None:
    with PrivateServer(arguments=["--maxmemory", "50mb", "--hz", "100"]) as server:
        assert say(server.url, "CONFIG GET maxmemory").endswith(str(50 * 2**20))


def test_an_option_overrides_the_default() -> None:
    with PrivateServer(arguments=["--maxmemory-policy", "allkeys-lru"]) as server:
        assert say(server.url, "CONFIG GET maxmemory-policy").endswith("allkeys-lru")


def test_an_unknown_option_is_an_error_that_quotes_the_log() -> None:
    server = PrivateServer(arguments=["--no-such-option", "1"])
    with pytest.raises(ConfigurationError, match=r"(?s)Its log.*no-such-option.*Mend"):
        server.start()
    assert "no-such-option" in server.log


def test_its_log_can_be_read_while_it_runs_and_afterwards() -> None:
    with PrivateServer(arguments=["--loglevel", "notice"]) as server:
        assert "Server initialized" in server.log
    assert "Server initialized" in server.log


def test_a_password_is_no_obstacle_to_starting() -> None:
    with PrivateServer(arguments=["--requirepass", "secret"]) as server:
        assert say(server.url, "PING").startswith("-NOAUTH")


def test_a_killed_server_comes_back_with_its_data_at_the_same_url() -> None:
    with PrivateServer(appendonly=True) as server:
        url, pid = server.url, server.pid
        say(url, "SET key value")
        server.kill()
        assert not alive(pid)
        assert say(url, "PING") == ""
        server.restart()
        assert server.url == url
        assert server.pid == pid_at(url) != pid
        assert say(url, "GET key").endswith("value")


def test_a_running_server_is_restarted_with_its_data() -> None:
    with PrivateServer(appendonly=True) as server:
        for number in range(3):
            say(server.url, f"RPUSH list {number}")
            server.restart()
        assert say(server.url, "LLEN list") == ":3"


def test_without_appendonly_a_restarted_server_is_empty() -> None:
    with PrivateServer() as server:
        say(server.url, "SET key value")
        server.restart()
        assert say(server.url, "DBSIZE") == ":0"


def test_a_restart_that_fails_says_why_and_leaves_nothing() -> None:
    with PrivateServer(appendonly=True) as server:
        server.kill()
        manifest = next(server.directory.glob("appendonlydir/*.manifest"))
        manifest.write_text("nonsense\n")
        with pytest.raises(ConfigurationError, match=r"(?s)Its log.*nonsense"):
            server.restart()
        assert not anything_left()


def test_a_paused_server_answers_after_it_is_resumed() -> None:
    with PrivateServer() as server:
        server.pause()
        assert say(server.url, "PING") == ""
        server.resume()
        assert say(server.url, "PING") == "+PONG"


def test_killing_a_server_that_is_dead_is_harmless() -> None:
    with PrivateServer() as server:
        os.kill(server.pid, signal.SIGKILL)
        server.kill()
        server.pause()


@pytest.mark.parametrize("data", ["in scratch", "kept"])
def test_a_paused_server_can_be_stopped(tmp_path: Path, data: str) -> None:
    server = PrivateServer(directory=tmp_path if data == "kept" else None).start()
    pid = server.pid
    server.pause()
    server.stop()
    assert not alive(pid)


def test_data_in_a_directory_are_there_for_the_next_server(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "data"
    with PrivateServer(directory=directory, appendonly=True) as server:
        assert server.directory == directory
        say(server.url, "SET key value")
    with PrivateServer(directory=directory, appendonly=True) as server:
        assert say(server.url, "GET key").endswith("value")


@pytest.mark.parametrize(
    "name",
    ['it\'s "żółć" \\x %20#?', "x" * 200, "two\nlines"],
    ids=["special", "long", "newline"],
)
def test_data_may_lie_in_an_unusual_path(tmp_path: Path, name: str) -> None:
    directory = tmp_path / name
    with PrivateServer(directory=directory, appendonly=True) as server:
        say(server.url, "SET key value")
    assert list(directory.glob("appendonlydir/*.manifest"))


def test_the_temporary_folder_may_have_an_unusual_name(
    sockets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = sockets / "it's żółć %20#?"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with PrivateServer() as server, redis_client(server.url) as client:
        assert server.directory.parent == folder
        assert client.ping()
    folder.rmdir()


def test_a_temporary_folder_too_long_for_a_socket_is_avoided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with PrivateServer() as server:
        assert len(bytes(socket_of(server))) < 104
        assert say(server.url, "PING") == "+PONG"


def test_forgetting_a_server_stops_it() -> None:
    server = PrivateServer().start()
    pid = server.pid
    with pytest.warns(ResourceWarning):
        del server
    wait_until(lambda: not alive(pid))


def anything_left() -> bool:
    """Tell whether there is a process or a file of this test."""
    folder = Path(tempfile.gettempdir())
    return bool(processes_with(folder)) or any(folder.iterdir())
