"""Log lines for people and for machines."""

import io
import json
import logging

import pytest

from aioq.observe.logs import Console, Json, configure
from tests.cli.conftest import Project


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def record(level: int = logging.INFO, **extra: object) -> logging.LogRecord:
    made = logging.makeLogRecord(
        {"name": "shop", "levelno": level, "levelname": logging.getLevelName(level)}
    )
    made.msg, made.args = "%d jobs", (3,)
    made.__dict__.update(extra)
    return made


def test_a_line_for_people() -> None:
    _, _, rest = Console(io.StringIO()).format(record()).partition(" ")

    assert rest == "INFO    shop  3 jobs"


def test_levels_are_coloured_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[31mERROR\x1b[0m   shop" in Console(Terminal()).format(record(logging.ERROR))
    assert "\x1b" not in Console(io.StringIO()).format(record(logging.ERROR))
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in Console(Terminal()).format(record(logging.ERROR))


def test_a_line_for_machines() -> None:
    error = ValueError("a\nb")
    raised = (type(error), error, None)
    line = Json().format(record(logging.ERROR, exc_info=raised, job_id="é", at=object))
    values = json.loads(line)

    assert "\n" not in line
    assert values["time"].endswith("+00:00")
    assert (values["level"], values["logger"], values["message"]) == ("error", "shop", "3 jobs")
    assert values["exception"].endswith("ValueError: a\nb")
    assert (values["job_id"], values["at"]) == ("é", "<class 'object'>")


def test_only_what_is_asked_for_is_configured(project: Project) -> None:
    root, mine = logging.getLogger(), logging.NullHandler()
    root.handlers[:] = [mine]
    configure("warning", "json")
    assert root.handlers == [mine]
    assert logging.getLogger("aioq").level == logging.WARNING

    stream = io.StringIO()
    configure("info", "json", force=True, stream=stream)
    logging.getLogger("shop").info("hear me")
    logging.captureWarnings(capture=False)

    assert mine not in root.handlers
    assert json.loads(stream.getvalue())["message"] == "hear me"
