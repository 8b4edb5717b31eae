"""Configure logging, for the command line alone: a library that does it takes it from its user."""

import json
import logging
import os
import sys
from datetime import UTC, datetime
from typing import IO, Any, Literal

Format = Literal["console", "json"]

_COLOURS = {
    logging.DEBUG: "2",
    logging.WARNING: "33",
    logging.ERROR: "31",
    logging.CRITICAL: "1;31",
}
_OWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


def configure(
    level: str,
    form: Format,
    *,
    force: bool = False,
    stream: IO[str] | None = None,
    pid: bool = False,
) -> None:
    """Send the log lines of all loggers to stderr.

    Args:
        level: the least level that is shown, such as "info".
        form: for people, or one JSON object per line.
        force: also where the user's code has configured logging; else its handlers stay, and
            only the level of our own loggers is set.
        stream: in place of stderr.
        pid: name the process in each line, as where several write to the same stream.
    """
    logging.getLogger("aioq").setLevel(level.upper())
    root = logging.getLogger()
    if root.handlers and not force:
        return
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(Json(pid=pid) if form == "json" else Console(handler.stream, pid=pid))
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(capture=True)


class Console(logging.Formatter):
    """Lines for people: time, level, process where it is asked for, logger, message."""

    default_msec_format: str | None = "%s.%03d"

    def __init__(self, stream: IO[str], *, pid: bool = False) -> None:
        process = "[%(process)d] " if pid else ""
        form = f"%(asctime)s %(levelname)-7s {process}%(name)s  %(message)s"
        super().__init__(form, "%H:%M:%S")
        self._is_coloured = stream.isatty() and not os.environ.get("NO_COLOR")

    def format(self, record: logging.LogRecord) -> str:
        """Write one record, the level in its colour where a terminal shows it."""
        line = super().format(record)
        colour = _COLOURS.get(record.levelno)
        if not self._is_coloured or colour is None:
            return line
        return line.replace(record.levelname, f"\x1b[{colour}m{record.levelname}\x1b[0m", 1)


class Json(logging.Formatter):
    """One object per line: time, level, logger, message, and what was given as `extra`."""

    def __init__(self, *, pid: bool = False) -> None:
        super().__init__()
        self._pid = pid

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        values: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        values.update((key, each) for key, each in vars(record).items() if key not in _OWN)
        if self._pid:
            values["pid"] = record.process
        if record.exc_info:
            values["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            values["stack"] = record.stack_info
        return json.dumps(values, default=str, ensure_ascii=False)
