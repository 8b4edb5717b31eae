"""`aioq limits`: what holds jobs back, and how that is changed while workers run."""

import pytest

from tests.broker.place import Place
from tests.cli.conftest import Project
from tests.cli.terminal import Terminal, wait_until

TASKS = """
from aioq import Aioq

app = Aioq()


@app.task(name="mail", rate_limit="1/m")
async def mail() -> None: ...


@app.task(name="pdf", max_concurrency=2)
async def pdf() -> None: ...
"""


@pytest.fixture
def shop(terminal: Terminal) -> Terminal:
    """An app whose worker has declared its limits."""
    terminal.write("tasks.py", TASKS)
    assert terminal.run("worker", "tasks:app", "--burst").code == 0
    return terminal


def test_the_limits_are_listed(shop: Terminal) -> None:
    done = shop.run("limits", "list")

    assert (done.code, done.err) == (0, "")
    assert shop.run("limits") == done
    assert [line.split() for line in done.out.splitlines()] == [
        ["LIMIT", "ALLOWS", "NOW", "WAITING", "SOURCE"],
        ["mail", "1", "per", "60", "s,", "burst", "1", "1", "ready", "0", "tasks:app"],
        ["pdf", "2", "at", "once", "0", "taken", "0", "tasks:app"],
    ]


def test_a_limit_is_set_and_reset(shop: Terminal) -> None:
    def allowed() -> dict[str, tuple[object, ...]]:
        return {
            each["name"]: (each["rate"], each["burst"], each["max_concurrency"], each["source"])
            for each in shop.run("limits", "list", "--json").json["limits"]
        }

    assert shop.run("limits", "set", "mail", "50/m", "--burst", "5").out == "mail is set\n"
    shop.run("limits", "set", "pdf", "--concurrency", "7")
    assert allowed() == {
        "mail": (50, 5, None, "run time"),
        "pdf": (None, None, 7, "run time"),
    }
    done = shop.run("limits", "reset", "mail")
    assert done.out == "mail is what the code declares\n"
    assert allowed()["mail"] == (1, 1, None, "tasks:app")


def test_jobs_that_wait_start_when_their_limit_is_raised(shop: Terminal) -> None:
    shop.start_worker("tasks:app")
    jobs = [shop.enqueue("-A", "tasks:app", "mail") for _ in range(3)]
    wait_until(lambda: shop.state(jobs[0]) == "SUCCESS")
    assert shop.state(jobs[2]) == "PENDING"
    shop.run("limits", "set", "mail", "100/s")
    wait_until(lambda: shop.state(jobs[2]) == "SUCCESS")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mail"], "give either a RATE such as 10/m"),
        (["mail", "1/m", "--concurrency", "2"], "give either a RATE such as 10/m"),
        (["mail", "often"], "rate_limit='often' is wrong"),
        (["mail", "0"], "'0' is no limit"),
        (["mail", "1/m", "--burst", "0"], "'--burst'"),
    ],
)
def test_a_wrong_limit_is_wrong_usage(project: Project, arguments: list[str], message: str) -> None:
    done = project.run("limits", "set", *arguments)

    assert done.exit_code == 2
    assert message in done.stderr


def test_where_there_is_none(project: Project, place: Place) -> None:
    done = project.run("limits", "list", "--url", place.url, "--name", "test")

    assert (done.exit_code, done.stdout) == (0, "")
    assert "no worker of 'test' has declared a limit yet" in done.stderr
