"""Wrong usage: exit code 2, one message, and nothing was loaded or asked."""

import pytest

from aioq.core.settings import SETTING_NAMES, Settings
from tests.cli.conftest import Project

WORKER_FLAGS = (
    "url",
    "concurrency",
    "queues",
    "log_level",
    "log_format",
    "processes",
    "max_jobs",
    "max_memory",
    "max_lifetime",
)


@pytest.fixture(autouse=True)
def tripwire(project: Project) -> None:
    """An app that nobody may load."""
    project.write("tasks.py", "raise SystemExit('loaded')\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--concurrency", "0"], "'--concurrency': 0 is not in the range 1<=x<=100000"),
        (["--concurrency", "many"], "'--concurrency': 'many' is not a valid integer range"),
        (["--queues", "a b,c"], "'--queues': 'a b' is no name"),
        (["--queues", ","], "'--queues': give at least one name"),
        (["--queues", "a:0"], "'--queues': '0' is no weight for 'a': a whole number from 1 to 1"),
        (["--queues", "a:b:1"], "'--queues': 'a:b' is no name"),
        (["--queues", "a:3,b"], "'a:3,b' is wrong: give each queue one weight"),
        (["--queues", "a:3,a:1"], "'a:3,a:1' is wrong: give each queue one weight"),
        (["--log-level", "loud"], "'--log-level': 'loud' is not one of 'debug', 'info'"),
        (["--log-format", "xml"], "'--log-format': 'xml' is not one of 'console', 'json'"),
        (["--url", "http://h"], "the URL 'http://h' has no scheme that is known"),
        (["--url", "embedded://h"], "not the URL of an embedded server"),
        (["--processes", "0"], "'--processes': 0 is not in the range 1<=x<=1000"),
        (["--processes", "2", "-A", "other:app"], "two apps are given"),
        (["--max-jobs", "0"], "'--max-jobs': 0 is not in the range x>=1"),
        (["--max-memory", "0"], "'--max-memory': 0 is not in the range x>=1"),
        (["--max-lifetime", "0.5"], "'--max-lifetime': 0.5 is not in the range x>=1"),
        (["--nope"], "No such option '--nope'"),
        (["--concurency", "1"], "Did you mean '--concurrency'?"),
        (["-A", "other:app"], "two apps are given: tasks:app and -A other:app"),
        (["more"], "unexpected extra argument"),
    ],
)
def test_a_worker_refuses(project: Project, arguments: list[str], message: str) -> None:
    done = project.run("worker", "tasks:app", *arguments)

    assert done.exit_code == 2
    assert message in done.stderr
    assert "loaded" not in done.stderr


def test_a_supervisor_refuses_before_it_starts_a_worker(project: Project) -> None:
    done = project.run("worker", "a b", "--processes", "2")

    assert done.exit_code == 2
    assert "'a b'" in done.stderr


@pytest.mark.parametrize(
    "text", [":app", "a b", "tasks:", "tasks:1", "tasks:a-b", ".tasks", "a:b:c"]
)
def test_a_reference_without_a_known_form(project: Project, text: str) -> None:
    done = project.run("worker", text)

    # `tasks:` is `tasks`, as `module` alone is allowed.
    assert done.exit_code == (3 if text == "tasks:" else 2)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["worker", "dev"])
def test_two_apps(project: Project, command: str) -> None:
    done = project.run("-A", "one:app", command, "-A", "two:app")

    assert done.exit_code == 2
    assert "-A one:app before the command, and -A two:app after it" in done.stderr


@pytest.mark.parametrize("command", ["check", "server"])
def test_a_command_that_imports_no_app_refuses_one(project: Project, command: str) -> None:
    done = project.run("-A", "tasks:app", command)

    assert done.exit_code == 2
    assert "leave out -A" in done.stderr


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("AIOQ_LEASE", "0", "AIOQ_LEASE='0' is wrong: Expected `float` >= 1.0"),
        ("AIOQ_URL", "http://joe:secret@h", "the URL 'http://joe:***@h' has no scheme"),
        ("AIOQ_QUEUES", "a b", "AIOQ_QUEUES='a b' is wrong"),
        ("AIOQ_QUEUES", "a:3,b", "AIOQ_QUEUES='a:3,b' is wrong: give each queue one weight"),
        ("AIOQ_QUEUES", "a:0", "AIOQ_QUEUES='a:0' is wrong: Expected `int` >= 1"),
    ],
)
@pytest.mark.parametrize("command", ["worker", "dev", "check", "enqueue", "call", "result"])
def test_an_environment_that_is_wrong(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    name: str,
    value: str,
    message: str,
) -> None:
    monkeypatch.setenv(name, value)
    done = project.run(command, *([] if command in {"worker", "dev", "check"} else ["x"]))

    assert done.exit_code == 2
    assert message in done.stderr
    assert "secret" not in done.stderr


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("concurrency = 0", "[tool.aioq]: concurrency=0 is wrong: Expected `int` >= 1"),
        ("concurency = 1", "unknown field 'concurency'; did you mean 'concurrency'?"),
        ("nonsense", "cannot be read"),
    ],
)
def test_a_pyproject_that_is_wrong(project: Project, table: str, message: str) -> None:
    project.write("pyproject.toml", f"[tool.aioq]\n{table}\n")
    done = project.run("worker")

    assert done.exit_code == 2
    assert message in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--countdown", "5x"], "'5x' is no duration: write 10s, 5m, 2h, 7d or seconds"),
        (["--expires", "-1"], "'-1' is no duration"),
        (["--eta", "tomorrow"], "'tomorrow' is no time in ISO 8601"),
        (["--eta", "2030-01-01"], "--eta says no timezone: write --eta 2030-01-01T00:00:00Z"),
        (["--eta", "2030-01-01T00:00:00Z", "--delay", "1s"], "countdown and eta both say when"),
        (["--priority", "10"], "10 is not in the range 0<=x<=9"),
        (["--queue", "a b"], "queue='a b' is wrong"),
        (["--job-id", "a b"], "job_id='a b' is wrong"),
        (["--args", "[1"], "'[1' is no JSON"),
        (["--args", "{}"], "'{}' is no JSON array"),
        (["--kwargs", "[]"], "'[]' is no JSON object"),
        (["--kwargs", '{"a": 1}', "a=2"], "a= is given twice"),
        (["-x"], "No such option '-x'"),
        (["--prioritty=1"], "'--prioritty'. Did you mean '--priority'?"),
        (["-A", "tasks:app", "--name", "shop"], "-A and --name are both given"),
        (["--name", "a b"], "name='a b' is wrong"),
    ],
)
@pytest.mark.parametrize("command", ["enqueue", "call"])
def test_a_call_that_is_wrong(
    project: Project, command: str, arguments: list[str], message: str
) -> None:
    done = project.run(command, "some.task", *arguments)

    assert done.exit_code == 2
    assert message in done.stderr


@pytest.mark.parametrize("command", ["enqueue", "call", "result"])
def test_a_missing_argument(project: Project, command: str) -> None:
    done = project.run(command)

    assert done.exit_code == 2
    assert "Missing argument" in done.stderr


def test_the_help_of_a_flag_is_the_meaning_of_its_setting(project: Project) -> None:
    text = " ".join(project.run("worker", "--help").output.split())

    for name in WORKER_FLAGS:
        assert name in SETTING_NAMES
        assert f"--{name.replace('_', '-')} " in text
        assert f"env: AIOQ_{name.upper()}]" in text.replace("AIOQ_ ", "AIOQ_")
    assert "Jobs one worker process runs at the same time. [default: 100; " in text
    assert Settings().concurrency == 100
