"""Steps in the lives of jobs, as the stream of events keeps them: their text, and places in it.

One entry of the stream has all that one script call did, so a place is an entry and how many of its
steps have been read.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, tzinfo
from typing import NamedTuple

from aioq.core import codec
from aioq.core.clock import from_ms, moment_ms
from aioq.core.record import JobState, JobUpdate, Progress

STATES = {
    "q": JobState.PENDING,
    "s": JobState.STARTED,
    "p": JobState.PROGRESS,
    "r": JobState.RETRY,
    "c": JobState.SUCCESS,
    "f": JobState.FAILURE,
    "x": JobState.REVOKED,
}
"""The letters of steps: queued, started, progress, retried, succeeded, failed, revoked."""
STEPS, PROGRESS, OPENED = b"e", b"p", b"o"
"""Fields of an entry: lines of steps; the progress of one job; a worker has opened the stream."""


class Step(NamedTuple):
    """One step of one job."""

    letter: str
    job_id: bytes
    progress: bytes | None = None
    """As the task reported it; None: this is another step, or it is too large and in the record."""


class Position(NamedTuple):
    """A place in the stream: behind an entry, or in the middle of it."""

    ms: int
    n: int
    steps: int | None = None
    """How many steps of the entry have been read; None: all."""

    @property
    def entry_id(self) -> str:
        """The id of the entry."""
        return f"{self.ms}-{self.n}"

    @property
    def place(self) -> tuple[int, int]:
        """The entry, to compare with others."""
        return self.ms, self.n

    def __str__(self) -> str:
        return self.entry_id if self.steps is None else f"{self.entry_id}:{self.steps}"


def read_position(text: str) -> Position:
    """Read a place, such as `JobUpdate.position`, or the id of an entry.

    Raises:
        ValueError: it is none.
    """
    is_text = isinstance(text, str)  # pyright: ignore[reportUnnecessaryIsInstance]
    entry_id, colon, steps = text.partition(":") if is_text else ("", "", "")
    ms, _, n = entry_id.partition("-")
    numbers = (ms, n, steps) if colon else (ms, n)
    if not all(number.isascii() and number.isdecimal() for number in numbers):
        message = (
            f"since={text!r} is no position; pass `update.position` of a JobUpdate, such as "
            "'1763754000000-0:3', or an aware datetime"
        )
        raise ValueError(message)
    return Position(int(ms), int(n), int(steps) if colon else None)


def position_of(since: str | datetime, timezone: tzinfo | None = None) -> Position:
    """Return where to begin to read: behind a place, or with a moment.

    Raises:
        ValueError: the text is no place.
        ConfigurationError: the moment is naive, and no timezone says what it means.
    """
    if isinstance(since, datetime):
        begin = since.replace(microsecond=since.microsecond // 1000 * 1000)  # as entries are named
        return Position(moment_ms(begin, timezone), 0, 0)
    return read_position(since)


def read_steps(fields: Sequence[bytes]) -> list[Step]:
    """Read the steps of one entry, in their order; what a newer release has added is left out."""
    found: list[Step] = []
    for field, value in zip(fields[::2], fields[1::2], strict=True):
        if field == STEPS:
            for line in value.split(b"\n"):
                letter, *job_ids = line.split() or (b"",)
                if (known := letter.decode(errors="replace")) in STATES:
                    found.extend(Step(known, job_id) for job_id in job_ids)
        elif field == PROGRESS:
            job_id, space, progress = value.partition(b" ")
            found.append(Step("p", job_id, progress if space else None))
    return found


def write_steps(steps: Iterable[tuple[str, bytes]]) -> bytes:
    """Write steps as `include/event.lua` does: a line for each run of the same one."""
    words: list[bytes] = []
    last = ""
    for letter, job_id in steps:
        if letter != last:
            words.append(b"\n" + letter.encode())
            last = letter
        words.append(job_id)
    return b" ".join(words)


def update_of(step: Step, at: Position) -> JobUpdate:
    """Return a step as a value.

    Args:
        step: the step.
        at: the place behind it.
    """
    job_id, state = step.job_id.decode(), STATES[step.letter]
    return JobUpdate(job_id, state, read_progress(step.progress), from_ms(at.ms), str(at))


def read_progress(data: bytes | None) -> Progress | None:
    """Decode what a task has reported."""
    return None if data is None else Progress(*codec.decode_value(data))


def from_entry(
    entry_id: Position, fields: Sequence[bytes], *, behind: int = 0
) -> Iterator[tuple[Step, Position]]:
    """Read the steps of an entry, each with the place behind it.

    Args:
        entry_id: the entry.
        fields: what it holds.
        behind: how many of its steps to leave out.
    """
    for number, step in enumerate(read_steps(fields), start=1):
        if number > behind:
            yield step, entry_id._replace(steps=number)


class Life:
    """What a reader of one job has been told, so that it hears each state once and one end."""

    def __init__(self) -> None:
        self._last: JobState | None = None

    @property
    def has_begun(self) -> bool:
        """Whether anything was told."""
        return self._last is not None

    @property
    def has_ended(self) -> bool:
        """Whether the end was told."""
        return self._last is not None and self._last.is_final

    def is_news(self, state: JobState, *, from_record: bool = False) -> bool:
        """Tell whether to pass a state on; it counts as told then.

        Each report of progress is news, unless it is what a second look at the record says.
        """
        is_repeated = state is self._last and (from_record or state is not JobState.PROGRESS)
        if self.has_ended or is_repeated:
            return False
        self._last = state
        return True
