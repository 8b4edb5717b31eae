"""What the server has really written: its append-only file, read back.

The file has every write in order, each script as one transaction, and nothing is in it twice.  So
it tells of each job every state that its record has had, and whether the entry of a delivery was
ended in the very transaction that took the job from it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from aioq.broker.resp import INCOMPLETE, new_reader
from aioq.core.record import Stored
from tests.chaos.limit_log import LimitLog

FINAL = {Stored.COMPLETED, Stored.FAILED, Stored.REVOKED}
_CHUNK = 1 << 20


class Change(NamedTuple):
    """One state that a record took on."""

    state: str
    entry: str
    """The entry id of the delivery; "" where the job has none."""
    worker: str
    at_ms: int
    """By the server's clock, to within a second."""
    delivery: int = 0
    """Which delivery of the job this is, or is before."""
    has_ended_entry: bool = False
    """Whether the entry before was deleted in the same transaction, acknowledged if it ran."""


class History:
    """The life of one job."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.fields: dict[str, str] = {}
        """Its record, as it is now."""
        self.first_due_ms: int | None = None
        """When it was due, for a job that was enqueued for later."""


class Log(NamedTuple):
    """What the file tells."""

    histories: dict[str, History]
    """By job id."""
    limits: LimitLog


def read(folder: Path, prefix: str) -> Log:
    """Read the histories of all jobs from the data folder of a server.

    It must have kept all its writes: no rewrite of the file.
    """
    reader = _Reader(f"{prefix}j:")
    files = sorted(folder.glob("appendonlydir/*.incr.aof"), key=lambda file: int(_number(file)))
    for file in files:
        reader.read(file)
    return Log(reader.histories, reader.limits)


def _number(file: Path) -> str:
    return file.name.split(".")[-3]


class _Reader:
    """Replays commands; only records and acknowledgements count."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.histories: dict[str, History] = {}
        self.limits = LimitLog()
        self._now_ms = 0
        self._changed: list[tuple[History, Change]] = []
        self._acknowledged: set[str] = set()
        self._deleted: set[str] = set()
        self._is_open = False

    def read(self, file: Path) -> None:
        """Replay one file."""
        for command in _commands(file):
            name = command[0].upper()
            if name == "MULTI":
                self._is_open = True
            elif name == "EXEC":
                self._is_open = False
                self._end()
            else:
                self._replay(name, command)
                if not self._is_open:
                    self._end()

    def _replay(self, name: str, command: list[str]) -> None:
        if name == "XADD" and ":s:" in command[1]:  # ids of events come behind options
            self._now_ms = max(self._now_ms, int(command[2].partition("-")[0]))
        elif name == "XACK":
            self._acknowledged.update(command[3:])
        elif name == "XDEL":
            self._deleted.update(command[2:])
        elif name == "SET" and command[1].endswith(":t"):
            self._now_ms = max(self._now_ms, int(command[2]))
        elif len(command) > 1 and command[1].startswith(self._prefix):
            job_id = command[1][len(self._prefix) :]
            history = self.histories.setdefault(job_id, History())
            if self._write(history, name, command[2:]):
                self._change(history)
                self.limits.note(job_id, history.fields, self._now_ms)

    def _write(self, history: History, name: str, words: list[str]) -> bool:
        """Apply a write to a record; tell whether it has named a state."""
        fields = history.fields
        if name in {"HSET", "HMSET"}:
            given = dict(zip(words[::2], words[1::2], strict=True))
            fields |= given
            return "s" in given
        if name == "HINCRBY":
            fields[words[0]] = str(int(fields.get(words[0], 0)) + int(words[1]))
        elif name == "HDEL":
            for word in words:
                fields.pop(word, None)
        return False

    def _change(self, history: History) -> None:
        fields = history.fields
        state = fields["s"]
        if state == Stored.DELAYED and not history.changes:
            history.first_due_ms = int(fields["d"])
        has_entry = state in {Stored.QUEUED, Stored.RUNNING}
        entry = fields["i"] if has_entry else ""
        delivery = int(fields.get("a", 0)) + 1
        change = Change(state, entry, fields.get("o", ""), self._now_ms, delivery)
        self._changed.append((history, change))

    def _end(self) -> None:
        """End a transaction: now it is known which entries it has ended."""
        for history, change in self._changed:
            has_ended = bool(history.changes) and self._has_ended(history.changes[-1])
            history.changes.append(change._replace(has_ended_entry=has_ended))
        self.limits.end()
        self._changed.clear()
        self._acknowledged.clear()
        self._deleted.clear()

    def _has_ended(self, before: Change) -> bool:
        is_acknowledged = before.entry in self._acknowledged or before.state != Stored.RUNNING
        return before.entry in self._deleted and is_acknowledged


def _commands(file: Path) -> Iterator[list[str]]:
    reader = new_reader()
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            reader.feed(chunk)
            command: Any = reader.gets()
            while command is not INCOMPLETE:
                yield [word.decode("latin-1") for word in command]
                command = reader.gets()
