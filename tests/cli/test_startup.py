"""`aioq worker` on servers that are unfit, closed, full, or set up as the guide says."""

import json
import signal
from collections.abc import Callable

import pytest

from aioq.broker.rights import PRODUCER, READER, WORKER
from aioq.embedded import PrivateServer
from tests.broker.place import Admin
from tests.broker.users import acting_as
from tests.cli.terminal import Terminal

NewServer = Callable[..., PrivateServer]


def test_the_banner_names_the_persistence(shop: Terminal, new_server: NewServer) -> None:
    server = new_server(appendonly=True)
    done = shop.run("worker", "tasks:app", "--burst", "--url", server.url)

    assert done.code == 0
    assert "  persistence  append-only file, fsync every second\n" in done.err
    assert "INFO    aioq.worker  The server is " in done.err


def test_the_development_server_writes_to_disk_every_second(shop: Terminal) -> None:
    done = shop.run("worker", "tasks:app", "--burst", "--url", f"embedded://{shop.folder}/data")

    assert done.code == 0
    assert "  persistence  append-only file, fsync every second\n" in done.err
    assert "WARNING" not in done.err


def test_a_server_that_keeps_nothing_is_a_warning(shop: Terminal) -> None:
    done = shop.run("worker", "tasks:app", "--burst")

    assert done.code == 0
    assert "  persistence  none: a restart of the server loses every job\n" in done.err
    assert done.err.count("WARNING") == 1


def test_as_json_the_persistence_is_a_field(shop: Terminal, new_server: NewServer) -> None:
    server = new_server(appendonly=True)
    done = shop.run("worker", "tasks:app", "--burst", "--url", server.url, "--log-format=json")
    first = json.loads(done.err.splitlines()[0])

    assert first["persistence"] == "append-only file, fsync every second"


def test_the_banner_does_not_wait_for_a_server_that_is_away(shop: Terminal) -> None:
    nowhere = "redis://localhost:1"
    done = shop.run("worker", "tasks:app", "--url", nowhere, AIOQ_STARTUP_TIMEOUT="0.2")

    assert done.code == 4
    assert "  persistence  unknown: the server does not answer yet\n" in done.err


def test_a_server_that_would_evict_is_refused(shop: Terminal, new_server: NewServer) -> None:
    server = new_server("--maxmemory-policy", "allkeys-lru", appendonly=True)
    done = shop.run("worker", "tasks:app", "--url", server.url)
    careless = shop.run(
        "worker", "tasks:app", "--burst", "--url", server.url, AIOQ_ALLOW_EVICTION="true"
    )

    assert done.code == 4
    assert done.err.count("Error:") == 1
    assert "has the maxmemory-policy allkeys-lru" in done.err.partition("Error:")[2]
    assert "Traceback" not in done.err
    assert careless.code == 0
    assert "WARNING aioq.worker  A full server will throw jobs or results away" in careless.err


def test_a_missing_right_is_one_error(shop: Terminal, url: str) -> None:
    with acting_as(url, WORKER, "-zpopmin", app="aioq") as theirs:
        done = shop.run("worker", "tasks:app", "--url", theirs)

    assert done.code == 4
    assert "Traceback" not in done.err
    error = done.err.partition("Error: ")[2]
    assert "the user 'worker' has no right to ZPOPMIN" in error
    assert "ACL SETUSER worker +zpopmin (the guide 'Preparing a server'" in error
    assert "secret" not in done.err


def test_a_full_server_is_a_warning_and_is_drained(shop: Terminal, url: str) -> None:
    jobs = [shop.enqueue("tasks.add", "1", str(n)) for n in range(3)]
    admin = Admin(url)
    admin("CONFIG", "SET", "maxmemory", 1)
    done = shop.run("worker", "tasks:app", "--burst")
    admin("CONFIG", "SET", "maxmemory", 0)
    admin.close()

    assert done.code == 0
    assert "WARNING aioq.worker  The server is full" in done.err
    assert [shop.state(each) for each in jobs] == ["SUCCESS"] * 3


@pytest.mark.broker
def test_processes_with_the_documented_rights(shop: Terminal, url: str) -> None:
    with (
        acting_as(url, WORKER, app="aioq") as worker_url,
        acting_as(url, PRODUCER, app="aioq") as producer_url,
        acting_as(url, READER, app="aioq") as reader_url,
    ):
        worker = shop.start_worker("tasks:app", "--url", worker_url)
        called = shop.run("call", "tasks.add", "1", "2", "--url", producer_url)
        job_id = shop.run("enqueue", "tasks.add", "3", "4", "--url", producer_url).out.strip()
        waited = shop.run("result", job_id, "--wait", "--url", producer_url)
        read = shop.run("result", job_id, "--url", reader_url)
        checked = shop.run("check", "--url", reader_url)
        worker.send(signal.SIGTERM)
        ended = worker.end()

    assert (called.code, called.out) == (0, "3\n")
    assert (waited.code, waited.out) == (0, "SUCCESS\n7\n")
    assert (read.code, read.out) == (0, "SUCCESS\n7\n")
    assert checked.code == 0, checked
    assert ended.code == 0
    assert "refused" not in ended.err
