"""`aioq doctor`: what is on the server, whether it is sound, and how it is mended."""

import json
from collections.abc import Iterator

import pytest
from click.testing import Result

from tests.broker.calls import enqueue
from tests.broker.place import Place, new_job
from tests.cli.conftest import Project
from tests.cli.terminal import Terminal, wait_until


@pytest.fixture
def busy(place: Place) -> Iterator[Place]:
    """Three jobs that wait, one of them delayed."""
    place.is_sound = False
    delayed = new_job("delayed", due="+3600000")
    enqueue(place, new_job("queued"), new_job("letter", lane="mail:5"), delayed)
    yield place
    place.admin("CONFIG", "SET", "maxmemory-policy", "noeviction")


def doctor(project: Project, place: Place, *more: str) -> Result:
    return project.run("doctor", "--url", place.url, "--name", "test", *more)


def lines(result: Result) -> list[str]:
    return [" ".join(line.split()) for line in result.stdout.splitlines()]


def test_a_sound_server_is_shown(shop: Terminal, url: str) -> None:
    shop.start_worker("tasks:app", "--queues", "default,mail")
    shop.enqueue("tasks.held", "one")
    wait_until((shop.folder / "one.started").exists)
    done = shop.run("doctor")
    said = [" ".join(line.split()) for line in done.out.splitlines()]

    assert (done.code, done.err) == (0, "")
    assert said[0] == "app named 'aioq'"
    assert said[1].startswith(f"server {url} (Valkey ")
    assert said[2:4] == [
        "when full noeviction",
        "persistence none: a restart of the server loses every job",
    ]
    assert said[4].startswith("memory ")
    assert said[6:8] == ["workers 1 alive", "jobs 1 record, 0 delayed, 0 held, 0 dead letters"]
    assert said[9:] == [
        "QUEUE WAITING HELD RUNNING WORKERS",
        "default 0 0 1 1",
        "mail 0 0 0 1",
        "",
        "Sound.",
    ]
    (shop.folder / "one.go").touch()


def test_what_is_wrong_is_said_and_then_mended(project: Project, busy: Place) -> None:
    busy.admin("ZREM", f"{busy.prefix}d", "delayed")
    busy.admin("SREM", f"{busy.prefix}l", "mail:5")
    found, mended, sound = (
        doctor(project, busy, *more) for more in ([], ["--repair"], ["--repair"])
    )

    unseen = "- lane mail:5 holds jobs, and workers do not look into it"
    unlisted = "- job delayed is delayed, and the delayed set does not know it"
    assert found.exit_code == 1
    assert lines(found)[-2:] == [unseen, unlisted]
    assert found.stderr == "Error: 2 problems; mend them with: aioq doctor --repair\n"
    assert (mended.exit_code, mended.stderr) == (0, "")
    assert lines(mended)[-3:] == [
        f"{unseen}: added",
        f"{unlisted}: added",
        "Sound: 2 problems mended.",
    ]
    assert (sound.exit_code, lines(sound)[-1]) == (0, "Sound.")
    assert lines(sound)[7] == "jobs 3 records, 1 delayed, 0 held, 0 dead letters"


def test_as_json(project: Project, busy: Place) -> None:
    busy.admin("ZREM", f"{busy.prefix}d", "delayed")
    done = doctor(project, busy, "--json", "--repair")
    facts = json.loads(done.stdout)

    assert done.exit_code == 0
    assert (facts["schema"], facts["name"], facts["server"]) == (1, "test", busy.url)
    assert facts["facts"]["policy"] == "noeviction"
    assert facts["facts"]["memory"] > 0
    assert facts["facts"]["clients"] > 0
    assert facts["queues"] == [
        {"name": "default", "waiting": 1, "held": 0, "running": 0, "workers": 0},
        {"name": "mail", "waiting": 1, "held": 0, "running": 0, "workers": 0},
    ]
    assert (facts["jobs"], facts["delayed"], facts["dead_letters"]) == (3, 1, 0)
    assert facts["workers"] == []
    assert facts["is_healthy"]
    assert facts["problems"] == [
        {
            "code": "delayed-unlisted",
            "name": "delayed",
            "detail": "",
            "text": "job delayed is delayed, and the delayed set does not know it",
            "is_mended": True,
            "remedy": "added",
        }
    ]


def test_what_cannot_be_mended_is_left_and_said(project: Project, busy: Place) -> None:
    busy.admin("SET", f"{busy.prefix}stranger", "1")
    done = doctor(project, busy, "--repair")

    assert done.exit_code == 1
    assert lines(done)[-1] == (
        "- the key stranger, a string, is in no table: left alone: a newer release may have "
        "written it; delete it by hand if none has"
    )
    assert done.stderr == "Error: 1 problem left\n"


def test_an_index_that_is_none_ends_the_examination(project: Project, busy: Place) -> None:
    busy.admin("DEL", f"{busy.prefix}d")
    busy.admin("SET", f"{busy.prefix}d", "1")
    done = doctor(project, busy)

    assert done.exit_code == 1
    assert done.stderr == (
        "Error: a key is of the wrong type, so the rest was not checked; see the list\n"
    )


def test_a_server_that_throws_keys_away_is_a_problem_unless_that_is_allowed(
    project: Project, busy: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy.admin("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    done = doctor(project, busy)

    assert done.exit_code == 1
    assert lines(done)[-1] == (
        "- the server throws keys away once it is full: its maxmemory-policy is allkeys-lru: "
        "CONFIG SET maxmemory-policy noeviction, and in its configuration file"
    )
    assert done.stderr == "Error: 1 problem\n"
    monkeypatch.setenv("AIOQ_ALLOW_EVICTION", "true")
    assert doctor(project, busy).exit_code == 0


def test_many_problems_are_not_all_printed(project: Project, busy: Place) -> None:
    for number in range(120):
        busy.admin("SET", f"{busy.prefix}y:gone{number}", "x")
    done = doctor(project, busy)

    assert len([line for line in lines(done) if line.startswith("- there are arguments")]) == 100
    assert lines(done)[-1] == "- and 20 more: see --json"
    assert len(json.loads(doctor(project, busy, "--json").stdout)["problems"]) == 120


@pytest.mark.parametrize("more", [[], ["--json"], ["--repair"]])
def test_a_server_that_is_away(project: Project, more: list[str]) -> None:
    done = project.run("doctor", "--url", "redis://localhost:1", *more)

    assert (done.exit_code, done.stdout) == (4, "")
    assert "cannot reach" in done.stderr


def test_a_dead_worker_that_nobody_has_reaped_is_counted(project: Project, busy: Place) -> None:
    busy.admin("ZADD", f"{busy.prefix}lw", 1, "dead")
    done = doctor(project, busy)

    assert (done.exit_code, lines(done)[6]) == (0, "workers 0 alive, 1 dead and not reaped yet")


def test_an_empty_name_is_sound_and_may_be_a_slip(project: Project, url: str) -> None:
    done = project.run("doctor", "--url", url, "--name", "shpo")

    assert (done.exit_code, lines(done)[-1]) == (0, "Sound.")
    assert "nothing is stored under the name 'shpo'" in done.stderr


def test_the_app_is_not_imported_unless_it_is_named_on_the_command_line(
    project: Project, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write("tasks.py", "1 / 0\n")
    project.write("pyproject.toml", '[tool.aioq]\napp = "tasks:app"\n')
    monkeypatch.setenv("AIOQ_APP", "tasks:app")

    assert project.run("doctor", "--url", url).exit_code == 0
    assert project.run("doctor", "--url", url, "tasks:app").exit_code == 3


@pytest.mark.parametrize(
    "words", [["doctor", "shop:app"], ["doctor", "-A", "shop:app"], ["-A", "shop:app", "doctor"]]
)
def test_a_named_app_gives_its_name_and_its_server(
    project: Project, url: str, words: list[str]
) -> None:
    project.write("shop.py", f"from aioq import Aioq\napp = Aioq({url!r}, name='shop')\n")
    done = project.run(*words)

    assert done.exit_code == 0
    assert lines(done)[0] == "app named 'shop'"
    assert lines(done)[1].startswith(f"server {url} ")


def test_an_app_and_a_name_are_one_too_many(project: Project) -> None:
    done = project.run("doctor", "shop:app", "--name", "other")

    assert done.exit_code == 2
    assert "the app has its own name" in done.stderr
