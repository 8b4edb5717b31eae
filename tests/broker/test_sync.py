"""The same calls from plain sync code."""

import os
import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

import pytest

from aioq.broker import scripts, sync
from aioq.broker.scripts import Call, End, Enqueued, Looked
from aioq.broker.sync import SyncBroker
from aioq.broker.topology import parse
from aioq.broker.weather import Refused, Weather
from aioq.core.errors import BrokerFull, BrokerUnavailable
from aioq.embedded import PrivateServer
from tests.broker.calls import deliver, outcome, settle
from tests.broker.place import Place, new_job

pytestmark = pytest.mark.broker

NewServer = Callable[..., PrivateServer]


@contextmanager
def sync_broker_on(
    place: Place, *, url: str | None = None, enqueue_timeout: float = 5.0
) -> Generator[SyncBroker]:
    broker = SyncBroker(
        parse(url or place.url, prefix=place.prefix), place.keys, enqueue_timeout=enqueue_timeout
    )
    try:
        yield broker
    finally:
        broker.close()


def enqueuing(place: Place, *names: str) -> Call[Enqueued]:
    jobs = [new_job(name) for name in names]
    return scripts.enqueue(place.prefix, count=len(jobs), ask=True, jobs=jobs)


def looking(place: Place) -> Call[Looked]:
    return scripts.look(place.prefix, job_id="a")


@contextmanager
def answering(reply: bytes) -> Generator[str]:
    """Listen, and give the same reply to everything that is sent."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:  # closed: the test is over
                    return
                with connection:
                    while data := connection.recv(65536):
                        connection.sendall(reply * data.count(b"*"))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def test_a_script_runs_and_its_reply_is_parsed(place: Place) -> None:
    with sync_broker_on(place) as broker:
        assert broker.run(enqueuing(place, "a", "b")) == Enqueued([True, True], ["default"])
    assert [each.job_id for each in deliver(place)] == [b"a", b"b"]


def test_one_connection_serves_all_threads_one_after_the_other(place: Place) -> None:
    with sync_broker_on(place) as broker:
        broker.run(looking(place))
        before = len(place.admin.others())
        calls = [enqueuing(place, str(n)) for n in range(20)]
        threads = [threading.Thread(target=broker.run, args=(call,)) for call in calls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(place.admin.others()) == before == 1
    assert len(deliver(place)) == 20


def test_a_closed_broker_opens_again_when_it_is_used(place: Place) -> None:
    with sync_broker_on(place) as broker:
        broker.run(looking(place))
        broker.close()
        assert broker.run(looking(place)).record == {}


def test_a_server_that_has_forgotten_the_scripts_is_taught_again(place: Place) -> None:
    with sync_broker_on(place) as broker:
        broker.run(looking(place))
        place.admin("SCRIPT", "FLUSH")
        assert broker.run(looking(place)).record == {}


def test_a_lost_connection_is_weather_and_a_new_one_is_opened(place: Place) -> None:
    with sync_broker_on(place) as broker:
        broker.run(looking(place))
        place.admin("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        with pytest.raises(Weather):
            broker.run(looking(place))
        assert broker.run(looking(place)).record == {}


def test_weather_is_waited_for(place: Place) -> None:
    with sync_broker_on(place) as broker:
        broker.run(looking(place))
        place.admin("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        assert broker.persist(enqueuing(place, "a")).created == [True]


def test_a_server_that_stays_away_is_given_up(place: Place) -> None:
    with (
        sync_broker_on(place, url="redis://127.0.0.1:1", enqueue_timeout=0.1) as broker,
        pytest.raises(BrokerUnavailable, match=r"cannot reach .*tried for 0\.1 s"),
    ):
        broker.persist(looking(place))


def test_a_wrong_password_is_refused_and_never_shown(place: Place, new_server: NewServer) -> None:
    url = new_server("--requirepass", "right").url + "?password=hunter2"
    with (
        sync_broker_on(place, url=url) as broker,
        pytest.raises(Refused, match=r"^unix://.* refused: .*check .*password") as caught,
    ):
        broker.persist(looking(place))
    assert "hunter2" not in str(caught.getrepr(style="short"))


@pytest.mark.parametrize("knows_the_script", [True, False])
def test_a_full_server_is_said_to_be_full(place: Place, *, knows_the_script: bool) -> None:
    with sync_broker_on(place) as broker:
        if not knows_the_script:
            place.admin("SCRIPT", "FLUSH")
        place.admin("CONFIG", "SET", "maxmemory", 1)
        with pytest.raises(BrokerFull, match=r"enqueue\.lua: the server is full"):
            broker.persist(enqueuing(place, "a"))
        place.admin("CONFIG", "SET", "maxmemory", 0)


def test_a_connection_of_ones_own_judges_errors_of_an_unknown_script_too(place: Place) -> None:
    place.admin("SCRIPT", "FLUSH")
    place.admin("CONFIG", "SET", "maxmemory", 1)
    with pytest.raises(BrokerFull, match=r"enqueue\.lua: the server is full"):
        place.run(enqueuing(place, "a"))
    place.admin("CONFIG", "SET", "maxmemory", 0)


@pytest.mark.parametrize(
    "code",
    ["LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "MOVED", "ASK", "BUSY"],
)
def test_what_is_weather_for_the_event_loop_is_weather_here(place: Place, code: str) -> None:
    with (
        answering(f"-{code} 42 127.0.0.1:7\r\n".encode()) as url,
        sync_broker_on(place, url=url, enqueue_timeout=0.1) as broker,
        pytest.raises(Weather),
    ):
        broker.run(looking(place))


def test_waiting_ends_with_the_job(place: Place) -> None:
    [delivery] = deliver(place, new_job("a"))
    with sync_broker_on(place) as broker:
        ends: list[End] = []
        thread = threading.Thread(target=lambda: ends.append(broker.wait("a", timeout=20)))
        thread.start()
        while not place.dump()["j:a"].get("waiters"):
            time.sleep(0.002)
        settle(place, outcome(delivery, "c", 3_600_000, b"R"))
        thread.join(4)
        assert ends == [End("c", b"R")]


def test_waiting_ends_at_once_for_a_job_that_has_ended_and_for_one_nobody_knows(
    place: Place,
) -> None:
    [delivery] = deliver(place, new_job("a"))
    settle(place, outcome(delivery, "c", 3_600_000, b"R"))
    with sync_broker_on(place) as broker:
        assert broker.wait("a", timeout=None) == End("c", b"R")
        assert broker.wait("nobody", timeout=None) == End("", b"")


def test_waiting_is_given_up_in_time(place: Place) -> None:
    deliver(place, new_job("a"))
    with sync_broker_on(place) as broker:
        with pytest.raises(TimeoutError, match=r"job a had not ended after 0\.05 s"):
            broker.wait("a", timeout=0.05)
        with pytest.raises(TimeoutError):
            broker.wait("a", timeout=0)


def test_waiting_survives_a_lost_notification(place: Place) -> None:
    [delivery] = deliver(place, new_job("a"))
    with sync_broker_on(place) as broker:
        ends: list[End] = []
        thread = threading.Thread(target=lambda: ends.append(broker.wait("a", timeout=20)))
        thread.start()
        while not place.dump()["j:a"].get("waiters"):
            time.sleep(0.002)
        place.admin("CLIENT", "KILL", "TYPE", "pubsub")
        settle(place, outcome(delivery, "c", 3_600_000, b"R"))
        thread.join(8)
        assert ends == [End("c", b"R")]


def test_a_subscription_that_the_acl_forbids_is_a_refusal(
    place: Place, new_server: NewServer
) -> None:
    server = new_server()
    with Place(server.url) as other:
        deliver(other, new_job("a"))
        other.admin("ACL", "SETUSER", "few", "on", ">pw", "~*", "resetchannels", "+@all")
        url = server.url + "?username=few&password=pw"
        with sync_broker_on(other, url=url) as broker, pytest.raises(Refused, match="ACL"):
            broker.wait("a", timeout=3)


def test_asking_again_and_again_leaves_no_trail_in_the_record(place: Place) -> None:
    """As in `while True: job.result_sync(timeout=1)`; one process is one client."""
    deliver(place, new_job("a"))
    with sync_broker_on(place) as broker:
        for _ in range(20):
            with pytest.raises(TimeoutError):
                broker.wait("a", timeout=0)
    assert len(place.dump()["j:a"]["waiters"].split()) <= 1


def test_a_forked_child_opens_a_connection_of_its_own(place: Place) -> None:
    with sync_broker_on(place) as broker:
        broker.run(looking(place))
        child = os.fork()
        if child == 0:
            broker.run(enqueuing(place, "from-the-child"))
            os._exit(0)
        os.waitpid(child, 0)
        assert broker.run(looking(place)).record == {}
    assert [each.job_id for each in deliver(place)] == [b"from-the-child"]


def test_a_connection_of_ones_own_is_opened_and_closed(place: Place) -> None:
    connection = sync.dial(parse(place.url, prefix=place.prefix))
    assert sync.run_on(connection, looking(place)).record == {}
    connection.disconnect()
