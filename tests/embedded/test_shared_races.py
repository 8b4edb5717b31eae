"""A shared server when processes come, go and die at the worst moments."""

import os
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from aioq.core.errors import BrokerUnavailable
from aioq.embedded import SharedServer, guardian, shared
from aioq.embedded import server as any_server

from .processes import (
    LONGER_THAN_IT_LINGERS,
    Program,
    alive,
    guardian_at,
    pid_at,
    processes_with,
    redis_client,
    say,
    wait_until,
    watchdog_at,
)

Run = Callable[..., Program]


@contextmanager
def frozen(pid: int) -> Generator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def let_pass(seconds: float) -> None:
    until = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() > until)


def opening(server: SharedServer) -> threading.Thread:
    thread = threading.Thread(target=server.open)
    thread.start()
    return thread


def test_of_four_simultaneous_starters_one_starts_it(run: Run, project: Path) -> None:
    clients = [run("client", project, "wait") for _ in range(4)]
    facts = [client.hear() for client in clients]
    assert sorted(fact["started"] for fact in facts) == [False, False, False, True]
    assert len({pid_at(fact["url"]) for fact in facts}) == 1


def test_a_client_that_comes_while_the_server_is_idle_keeps_it(project: Path) -> None:
    with SharedServer(project) as server:
        pid, guarding = pid_at(server.url), guardian_at(server.url)
    with frozen(guarding):
        # By now the guardian would have stopped it, if it had had the time.
        let_pass(LONGER_THAN_IT_LINGERS)
        joined = SharedServer(project).open()
    let_pass(LONGER_THAN_IT_LINGERS)
    assert not joined.started
    assert pid_at(joined.url) == pid
    joined.close()


def test_the_server_is_not_stopped_while_somebody_is_opening(project: Path) -> None:
    with SharedServer(project) as server:
        url, pid = server.url, pid_at(server.url)
    starter = guardian.acquire(server.directory / guardian.STARTER)
    assert starter is not None
    let_pass(LONGER_THAN_IT_LINGERS)
    assert pid_at(url) == pid
    guardian.release(starter)


def test_a_client_that_comes_while_the_server_stops_gets_a_new_one(project: Path) -> None:
    with SharedServer(project) as server:
        say(server.url, "SET key value")
        pid, shell = pid_at(server.url), watchdog_at(server.url)
    # The guardian waits for its watchdog, in the midst of stopping.
    with frozen(shell):
        wait_until(lambda: not alive(pid))
        late = SharedServer(project)
        thread = opening(late)
        with pytest.raises(AssertionError, match="still not true"):
            wait_until(lambda: not thread.is_alive(), 0.3)
    thread.join()
    assert late.started
    assert say(late.url, "GET key").endswith("value")
    late.close()


def test_clients_that_come_at_any_moment_of_the_end_get_a_server_that_lasts(
    tmp_path: Path,
) -> None:
    failures: list[str] = []

    def come_and_go(number: int) -> None:
        project = tmp_path / str(number)
        with SharedServer(project) as server:
            say(server.url, "INCR key")
        let_pass(number * 0.02)
        with SharedServer(project) as again:
            pid = pid_at(again.url)
            let_pass(LONGER_THAN_IT_LINGERS)
            if pid_at(again.url) != pid or not say(again.url, "GET key").endswith("1"):
                failures.append(f"{number}, {again.started}")

    threads = [threading.Thread(target=come_and_go, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_the_server_stops_cleanly_when_its_guardian_is_killed(project: Path) -> None:
    with SharedServer(project) as server:
        pid = pid_at(server.url)
        os.kill(guardian_at(server.url), signal.SIGKILL)
        assert wait_until(lambda: not alive(pid)) < 1.5
        assert "bye bye" in server.log


def test_the_next_client_recovers_from_a_killed_guardian(project: Path) -> None:
    with SharedServer(project) as server:
        say(server.url, "SET key value")
        pid, guarding = pid_at(server.url), guardian_at(server.url)
        os.kill(guarding, signal.SIGKILL)
        wait_until(lambda: not alive(guarding))
        # At once: the old server may still answer, and is about to stop.
        with SharedServer(project) as recovered:
            assert recovered.started
            assert not alive(pid)
            assert recovered.url == server.url
            assert say(recovered.url, "GET key").endswith("value")


def test_the_next_client_recovers_from_a_killed_watchdog(project: Path) -> None:
    with SharedServer(project) as server:
        say(server.url, "SET key value")
        pid = pid_at(server.url)
        os.kill(watchdog_at(server.url), signal.SIGKILL)
        with SharedServer(project) as recovered:
            wait_until(lambda: not alive(pid))
            assert say(recovered.open().url, "GET key").endswith("value")


def test_the_next_client_brings_back_a_killed_server_for_everybody(project: Path) -> None:
    with SharedServer(project) as server, redis_client(server.url) as longstanding:
        longstanding.set("key", "value")
        os.kill(pid_at(server.url), signal.SIGKILL)
        with SharedServer(project) as opener:
            assert opener.started
            assert longstanding.get("key") == b"value"


def test_a_client_brings_back_a_killed_server_by_opening_it_again(project: Path) -> None:
    with SharedServer(project) as server:
        say(server.url, "SET key value")
        url, pid = server.url, pid_at(server.url)
        os.kill(pid, signal.SIGKILL)
        server.open()
        assert server.url == url
        assert pid_at(url) != pid
        assert say(url, "GET key").endswith("value")


def test_everything_killed_at_once_is_no_obstacle(run: Run, project: Path) -> None:
    client = run("client", project, "wait")
    url = client.hear()["url"]
    say(url, "SET key value")
    victims = [guardian_at(url), watchdog_at(url), pid_at(url), client.pid]
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    with SharedServer(project) as server:
        assert server.started
        assert say(server.url, "GET key").endswith("value")


@pytest.mark.parametrize("moment", ["starter.lock", "guardian.lock", "server.log", "appendonlydir"])
def test_a_starter_killed_midway_leaves_nothing_behind(
    run: Run, project: Path, sockets: Path, moment: str
) -> None:
    client = run("client", project, "wait")
    wait_until((project / ".aioq" / moment).exists)
    client.die(signal.SIGKILL)
    with SharedServer(project) as server:
        assert say(server.url, "PING") == "+PONG"
    wait_until(lambda: not processes_with(sockets))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(any_server, "PATIENCE", 0.2)
    monkeypatch.setattr(shared, "PATIENCE", 0.2)
    monkeypatch.setattr(shared, "LONGEST_STOP", 0.2)


@pytest.mark.usefixtures("impatient")
def test_a_hung_server_is_an_error_and_gets_no_rival_on_its_data(project: Path) -> None:
    with SharedServer(project) as server:
        pid = pid_at(server.url)
        with frozen(pid), pytest.raises(BrokerUnavailable, match="did not answer"):
            SharedServer(project).open()
        assert pid_at(server.url) == pid


@pytest.mark.usefixtures("impatient")
def test_a_starter_that_hangs_is_an_error_that_says_how_to_find_it(project: Path) -> None:
    with SharedServer(project) as server:
        starter = guardian.acquire(server.directory / guardian.STARTER)
        assert starter is not None
        with pytest.raises(BrokerUnavailable, match=r"fuser .*starter\.lock"):
            SharedServer(project).open()
        guardian.release(starter)


def test_a_hung_server_without_clients_is_killed_in_the_end(project: Path) -> None:
    with SharedServer(project) as server:
        pid = pid_at(server.url)
    os.kill(pid, signal.SIGSTOP)
    # The watchdog continues it, so that it can end.
    wait_until(lambda: not alive(pid))
