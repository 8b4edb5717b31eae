"""Unique jobs as a value: what counts as the same job, for how long, and what a second call does.

The key itself is worked out in `aioq.core.unique_key`; the server keeps it, from the call that
makes the job on, so that no two workers and no two callers ever see different ones.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, cast, get_args
from uuid import UUID

from aioq.core.clock import LONGEST, milliseconds
from aioq.core.errors import ConfigurationError

Key = Callable[..., Any] | str | int | UUID | Enum
"""A value, or a function that is called as the task would be and returns one."""
Until = Literal["start", "done"]
"""When the key is free again: as soon as the job starts, or when it has ended."""
OnConflict = Literal["return", "reject", "replace", "debounce"]
"""What a call does while another job has its key."""

_LETTERS = {"return": "r", "reject": "j", "replace": "p", "debounce": "b"}
"""What `include/unique.lua` knows them by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unique:
    """One live job for each key.

    `on_conflict` says what a call does while another job has the key: "return" that job,
    "reject" the call with `NotUnique`, "replace" a job that waits by the new one (one that runs
    is returned), or "debounce": give the job that waits the newest arguments and options, and
    let it wait anew.
    """

    key: Key | None = None
    """None: the arguments."""
    for_: float | None = None
    """Seconds after which the key is free at the latest; None: no such bound."""
    until: Until | None = None
    """None: "done", and "start" where `on_conflict` is "debounce"."""
    on_conflict: OnConflict = "return"

    def __post_init__(self) -> None:
        for name, allowed in (("until", Until), ("on_conflict", OnConflict)):
            value: object = getattr(self, name)
            choices: tuple[str, ...] = get_args(allowed)
            if value not in choices and not (value is None and name == "until"):
                known = ", ".join(map(repr, choices))
                message = f"Unique: {name}={value!r} is wrong: it is one of {known}"
                raise ConfigurationError(message)
        _check_seconds(self.for_)
        if self.on_conflict == "debounce" and self.until == "done":
            message = (
                'Unique: until="done" and on_conflict="debounce" contradict each other: what runs '
                'has its arguments already, so a call meanwhile makes a new job; leave out until="'
                'done"'
            )
            raise ConfigurationError(message)
        if self.until is None:
            until = "start" if self.on_conflict == "debounce" else "done"
            object.__setattr__(self, "until", until)

    def word(self, key: str) -> str:
        """Return what `enqueue` is told of it, for a key."""
        for_ms = "" if self.for_ is None else max(milliseconds(self.for_), 1)
        return f"u:{cast('str', self.until)[0]}{_LETTERS[self.on_conflict]}:{for_ms}:{key}"


def read_unique(given: object, *, where: str) -> Unique | None:
    """Read what the option `unique` was given; True is `Unique()`, False is none.

    Raises:
        ConfigurationError: it is neither.
    """
    if isinstance(given, Unique):
        return given
    if given is None or isinstance(given, bool):
        return Unique() if given else None
    message = (
        f"{where}: unique={given!r} is wrong: it is True, False or a Unique, such as "
        "Unique(key=lambda user_id, **_: user_id)"
    )
    raise ConfigurationError(message)


def _check_seconds(given: object) -> None:
    if given is None:
        return
    is_number = isinstance(given, (int, float)) and not isinstance(given, bool)
    if not is_number or not 0 < cast("float", given) <= LONGEST:
        message = (
            f"Unique: for_={given!r} is wrong: it is a number of seconds, more than 0 and at most "
            f"{LONGEST:,}, or None for no bound"
        )
        raise ConfigurationError(message)
