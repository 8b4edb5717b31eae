"""`aioq queues`: what waits in each, and whether it is handed out."""

import json

import pytest

from tests.broker.calls import enqueue
from tests.broker.place import Place, new_job
from tests.cli.conftest import Project
from tests.cli.terminal import Terminal, wait_until

HEADING = ["QUEUE", "READY", "HELD", "RUNNING", "OLDEST", "WORKERS", "PAUSED"]


@pytest.fixture
def busy(place: Place) -> Place:
    """Three jobs that wait in two queues."""
    enqueue(place, new_job("a"), new_job("b"), new_job("c", lane="mail:9"))
    return place


def at(place: Place, *more: str) -> list[str]:
    return ["--url", place.url, "--name", "test", *more]


def test_the_queues_are_listed(project: Project, busy: Place) -> None:
    project.run("queues", "pause", "mail", *at(busy))
    done = project.run("queues", "list", *at(busy))
    rows = [line.split() for line in done.stdout.splitlines()]

    assert (done.exit_code, done.stderr) == (0, "")
    assert rows[0] == HEADING
    assert [row[:4] + row[5:] for row in rows[1:]] == [
        ["default", "2", "0", "0", "0", "no"],
        ["mail", "1", "0", "0", "0", "yes"],
    ]
    assert all(row[4].startswith("0:00:") for row in rows[1:])


def test_the_list_as_json(project: Project, busy: Place) -> None:
    facts = json.loads(project.run("queues", *at(busy, "--json")).stdout)
    assert (
        project.run("queues", *at(busy)).stdout == project.run("queues", "list", *at(busy)).stdout
    )
    assert "Commands:" in project.run("queues", "--help").stdout

    assert (facts["schema"], facts["name"]) == (1, "test")
    assert [each["name"] for each in facts["queues"]] == ["default", "mail"]
    first = facts["queues"][0]
    assert first.pop("oldest_age") >= 0
    assert first == {
        "name": "default",
        "depth": 2,
        "held": 0,
        "running": 0,
        "paused": False,
        "workers": 0,
    }


def test_where_there_is_none(project: Project, place: Place) -> None:
    done = project.run("queues", "list", *at(place))

    assert (done.exit_code, done.stdout) == (0, "")
    assert "no queue of 'test' has jobs or a live worker" in done.stderr
    assert json.loads(project.run("queues", "list", *at(place, "--json")).stdout)["queues"] == []


def test_each_change_is_said_once(project: Project, busy: Place) -> None:
    paused = project.run("queues", "pause", "mail", "default", *at(busy))
    again = project.run("queues", "pause", "mail", *at(busy))
    resumed = project.run("queues", "resume", "mail", *at(busy))
    twice = project.run("queues", "resume", "mail", *at(busy))

    assert paused.stdout == "mail is now paused\ndefault is now paused\n"
    assert again.stdout == "mail was already paused\n"
    assert resumed.stdout == "mail is no longer paused\n"
    assert twice.stdout == "mail was not paused\n"
    assert {done.exit_code for done in (paused, again, resumed, twice)} == {0}
    assert {done.stderr for done in (paused, again, resumed, twice)} == {""}
    assert busy.dump()["qp"] == {"default"}


def test_changes_as_json(project: Project, busy: Place) -> None:
    done = project.run("queues", "pause", "mail", "mail", *at(busy, "--json"))

    assert json.loads(done.stdout) == {
        "schema": 1,
        "name": "test",
        "queues": [{"name": "mail", "paused": True, "changed": True}],
    }


def test_a_queue_that_nobody_uses_may_be_a_mistake(project: Project, busy: Place) -> None:
    done = project.run("queues", "pause", "mial", *at(busy))

    assert (done.exit_code, done.stdout) == (0, "mial is now paused\n")
    assert "nothing is known of a queue 'mial' of 'test' yet" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pause"], "Missing argument 'QUEUE...'"),
        (["pause", "a:b"], "queue 'a:b' is no name"),
        (["list", "-A", "tasks:app", "--name", "shop"], "-A and --name are both given"),
        (["pase", "mail"], "No such command 'pase'"),
        (["--jsn"], "No such option"),
    ],
)
def test_wrong_usage(project: Project, arguments: list[str], message: str) -> None:
    done = project.run("queues", *arguments)

    assert done.exit_code == 2
    assert message in done.stderr


@pytest.mark.parametrize("words", [["list"], ["pause", "mail"], ["resume", "mail"]])
def test_a_server_that_is_away(
    project: Project, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setenv("AIOQ_ENQUEUE_TIMEOUT", "0.1")
    done = project.run("queues", *words, "--url", "redis://127.0.0.1:1")

    assert done.exit_code == 4
    assert "redis://127.0.0.1:1" in done.stderr


def test_the_app_says_its_name(project: Project, busy: Place) -> None:
    project.write("tasks.py", f"from aioq import Aioq\napp = Aioq({busy.url!r}, name='test')\n")
    done = project.run("-A", "tasks:app", "queues", "pause", "mail")

    assert (done.exit_code, done.stdout) == (0, "mail is now paused\n")
    assert busy.dump()["qp"] == {"mail"}


def test_two_workers_obey_and_go_on_when_it_is_over(shop: Terminal) -> None:
    shop.start_worker("tasks:app", "--queues", "default,mail")
    shop.start_worker("tasks:app", "--queues", "mail:3,default:1")
    assert shop.run("queues", "pause", "mail").out == "mail is now paused\n"
    job = shop.run("enqueue", "-A", "tasks:app", "tasks.add", "1", "2", "--queue", "mail")
    assert shop.run("call", "-A", "tasks:app", "tasks.add", "1", "2").out == "3\n"
    assert shop.run("result", job.out.strip()).out == "PENDING\n"
    [_, mail] = shop.run("queues", "list", "--json").json["queues"]
    assert (mail["name"], mail["depth"], mail["paused"], mail["workers"]) == ("mail", 1, True, 2)

    assert shop.run("queues", "resume", "mail").out == "mail is no longer paused\n"
    wait_until(lambda: shop.run("result", job.out.strip()).out == "SUCCESS\n3\n")
