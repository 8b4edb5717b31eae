"""`aioq enqueue`, `aioq call` and `aioq result`, on a real server with a real worker."""

from datetime import UTC, datetime, timedelta

import pytest

from aioq import Aioq, JobInfo
from tests.cli.terminal import Terminal, wait_until

NOWHERE = "redis://localhost:1"


def look(url: str, job_id: str) -> JobInfo:
    """Return what the server knows of a job."""
    app = Aioq(url)
    try:
        return app.job(job_id).info_sync()
    finally:
        app.client.sync().close()


@pytest.fixture
def staffed(shop: Terminal) -> Terminal:
    """The shop, with a worker."""
    shop.start_worker("tasks:app")
    return shop


def test_enqueue_prints_the_id_of_the_job(shop: Terminal, url: str) -> None:
    done = shop.run("enqueue", "tasks.add", "4", "y=6")
    info = look(url, done.out.strip())

    assert done.code == 0
    assert (info.task, info.args, info.kwargs) == ("tasks.add", (4,), {"y": 6})
    assert "No live worker serves the queue 'default'" in done.err


def test_enqueue_with_every_option(shop: Terminal, url: str) -> None:
    words = ["--countdown=2h", "--queue=mail", "--priority=9", "--expires=7d", "--job-id=mine"]
    more = ["--args=[1]", '--kwargs={"a": 2}', "3", "b=4", "--json"]
    done = shop.run("enqueue", "some.task", *words, *more)
    info = look(url, "mine")

    assert done.json == {"schema": 1, "id": "mine", "task": "some.task", "created": True}
    assert (info.queue, info.priority) == ("mail", 9)
    assert (info.args, info.kwargs) == ((1, 3), {"a": 2, "b": 4})
    assert info.due_at is not None
    assert info.due_at - info.enqueued_at == timedelta(hours=2)


def test_enqueue_at_a_moment(shop: Terminal, url: str) -> None:
    job_id = shop.enqueue("some.task", "--eta", "2099-01-01T12:00+01:00")

    assert look(url, job_id).due_at == datetime(2099, 1, 1, 11, tzinfo=UTC)


def test_a_job_that_is_known_is_not_made_again(shop: Terminal) -> None:
    shop.enqueue("some.task", "--job-id", "mine")
    done = shop.run("enqueue", "some.task", "--job-id", "mine", "--json")

    assert (done.code, done.json["created"]) == (0, False)
    assert "job mine was known already" in done.err


def test_negative_numbers_and_hyphens(shop: Terminal, url: str) -> None:
    job_id = shop.enqueue("some.task", "-2", "-1.5", "--", "-x", "--queue")

    assert look(url, job_id).args == (-2, -1.5, "-x", "--queue")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tasks.ad", "1", "2"], "the app has no task 'tasks.ad'; did you mean 'tasks.add'?"),
        (["add", "1", "2"], "did you mean 'tasks.add'?"),
        (["zzz"], "its first tasks are tasks.add, tasks.blocking_the_loop"),
        (["tasks.add", "1"], "missing a required argument: 'y'"),
        (["tasks.add", "1", "2", "3"], "too many positional arguments"),
        (["tasks.add", "1", "2", "z=3"], "unexpected keyword argument 'z'"),
        (["tasks.echo", "9" * 30], "argument 1 of tasks.echo, of type int, cannot be serialised"),
        (["tasks.echo", "x" * 1000], "more than max_payload=100"),
    ],
)
def test_with_an_app_the_call_is_checked(shop: Terminal, words: list[str], message: str) -> None:
    done = shop.run("enqueue", "-A", "tasks:app", *words, AIOQ_MAX_PAYLOAD="100")

    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert "Traceback" not in done.err


def test_without_an_app_what_cannot_be_serialised_is_found_too(shop: Terminal) -> None:
    done = shop.run("enqueue", "some.task", "9" * 30)

    assert done.code == 2
    assert "argument 1 of some.task, of type int, cannot be serialised" in done.err


def test_the_app_that_is_configured_is_used(shop: Terminal) -> None:
    shop.write("pyproject.toml", '[tool.aioq]\napp = "tasks:app"\n')

    assert shop.run("enqueue", "some.task").code == 2
    assert shop.run("enqueue", "some.task", "--name", "aioq").code == 0


def test_names_keep_apps_apart(shop: Terminal) -> None:
    job_id = shop.enqueue("some.task", "--name", "other")

    assert shop.run("result", job_id).code == 1
    assert shop.run("result", job_id, "--name", "other").out == "PENDING\n"


def test_call_prints_the_result(staffed: Terminal) -> None:
    done = staffed.run("-A", "tasks:app", "call", "tasks.add", "4", "-6")

    assert (done.code, done.out, done.err) == (0, "-2\n", "")
    assert staffed.run("call", "tasks.echo", '["é", null]').out == '["é", null]\n'


def test_call_of_a_job_that_fails(staffed: Terminal) -> None:
    done = staffed.run("call", "tasks.fail", "boom")
    explained = staffed.run("call", "tasks.fail", "boom", "--traceback")

    assert (done.code, done.out) == (1, "")
    assert done.err.endswith("failed: ValueError: boom\n")
    assert "Traceback" not in done.err
    assert explained.code == 1
    assert "in fail\n    raise ValueError(what)" in explained.err


def test_call_that_times_out(shop: Terminal) -> None:
    done = shop.run("call", "tasks.add", "1", "2", "--timeout", "50ms")

    assert (done.code, done.out) == (5, "")
    assert "had not ended after 0.05 s; it goes on, see it with: aioq result" in done.err


def test_call_of_a_job_that_expires(staffed: Terminal) -> None:
    done = staffed.run("call", "tasks.add", "1", "2", "--countdown", "200ms", "--expires", "50ms")

    assert done.code == 1
    assert "was revoked: it expired" in done.err


def test_result_of_a_job_that_waits_runs_and_has_ended(shop: Terminal) -> None:
    job_id = shop.enqueue("tasks.held", "this")
    assert shop.run("result", job_id).out == "PENDING\n"
    assert shop.run("result", job_id, "--timeout", "10ms").code == 5

    shop.start_worker("tasks:app")
    wait_until((shop.folder / "this.started").exists)
    assert shop.run("result", job_id).out == "STARTED\n"

    (shop.folder / "this.go").touch()
    assert shop.run("result", job_id, "--wait").out == 'SUCCESS\n"done"\n'


def test_result_as_json(staffed: Terminal) -> None:
    job_id = staffed.enqueue("tasks.add", "1", "2")
    facts = staffed.run("result", job_id, "--wait", "--json").json

    assert {name: facts[name] for name in ("schema", "id", "task", "state", "result")} == {
        "schema": 1,
        "id": job_id,
        "task": "tasks.add",
        "state": "SUCCESS",
        "result": 3,
    }
    assert datetime.fromisoformat(facts["finished_at"]).tzinfo is not None


def test_result_of_a_job_that_failed(staffed: Terminal) -> None:
    job_id = staffed.enqueue("tasks.fail", "boom")
    done = staffed.run("result", job_id, "--wait", "--traceback")
    facts = staffed.run("result", job_id, "--json")

    assert (done.code, done.out) == (1, "FAILURE\n")
    assert f"job {job_id} failed: ValueError: boom\nTraceback" in done.err
    assert facts.code == 1
    assert facts.json["error"]["exc_type"] == "ValueError"
    assert "result" not in facts.json


def test_result_of_a_job_that_nobody_knows(shop: Terminal) -> None:
    done = shop.run("result", "nothing")

    assert (done.code, done.out) == (1, "")
    assert "no job 'nothing'" in done.err


@pytest.mark.parametrize("words", [["enqueue", "t"], ["call", "t"], ["result", "id"]])
def test_a_server_that_is_away(shop: Terminal, words: list[str]) -> None:
    done = shop.run(*words, "--url", NOWHERE, AIOQ_ENQUEUE_TIMEOUT="0.1")

    assert (done.code, done.out) == (4, "")
    assert "cannot reach redis://localhost:1/0" in done.err
    assert "start a server, for example with `aioq server`, or set AIOQ_URL" in done.err
    assert "Traceback" not in done.err


def test_a_server_that_refuses(shop: Terminal, url: str) -> None:
    done = shop.run("enqueue", "t", "--url", url.replace("unix://", "unix://joe:secret@"))

    assert done.code == 4
    assert "refused: invalid username-password pair" in done.err
    assert "secret" not in done.err
