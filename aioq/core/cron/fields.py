"""Celery's crontab fields: from what a user gives to the numbers that it means.

This is Celery's grammar, not cron's: ranges wrap round (`fri-mon`), names may be written out,
and a step needs a `*` or a range, whose members it counts: `*/2` of a month is 1, 3, 5, ...
"""

import re
from collections.abc import Iterable, Iterator
from typing import cast

import msgspec

Given = int | str | Iterable[int | str]
"""What a field may be given as."""

_DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_MONTHS = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)
_PART = re.compile(r"(?:\*|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\w+))?", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,9}")


class Field(msgspec.Struct, frozen=True):
    """One field of a crontab: its name, its numbers, and what they are called."""

    name: str
    least: int
    most: int
    names: tuple[str, ...] = ()
    """The name of the least number, of the next one, and so on."""
    again: bool = False
    """Whether `most + 1` means `least` once more, as 7 is Sunday."""

    def text(self, given: Given) -> str:
        """Return the one text for everything that is given in the same words: `0,30`.

        Raises:
            ValueError: naming the field, the value and how to mend it.
        """
        try:
            parts = set(_parts(given))
            return ",".join(sorted(parts, key=lambda part: (self._expand(part), part)))
        except _WrongPart as error:
            raise self._wrong(given, error) from None

    def numbers(self, text: str) -> list[int]:
        """Return the numbers that a text means, in order.

        Raises:
            ValueError: naming the field, the value and how to mend it.
        """
        try:
            return sorted({number for part in _parts(text) for number in self._expand(part)})
        except _WrongPart as error:
            raise self._wrong(text, error) from None

    def _expand(self, part: str) -> list[int]:
        """Return the numbers of a part without commas, in the order in which steps count them."""
        found = _PART.fullmatch(part)
        if found is None:
            message = f"{part!r} is not understood"
            raise _WrongPart(message)
        first, last, step = found["first"], found["last"], found["step"]
        if first is None:
            numbers = list(range(self.least, self.most + 1))
        else:
            numbers = self._range(self._number(first), self._number(last or first))
        if step is None:
            return numbers
        if first is not None and last is None:
            message = f"{part!r} has a step but no range (write '{first}-{self.most}/{step}')"
            raise _WrongPart(message)
        if _NUMBER.fullmatch(step) is None or int(step) == 0:
            message = f"the step of {part!r} is not a number from 1"
            raise _WrongPart(message)
        return numbers[:: int(step)]

    def _range(self, first: int, last: int) -> list[int]:
        if first <= last:
            numbers = [*range(first, last + 1)]
        else:
            numbers = [*range(first, self.most + 1), *range(self.least, last + 1)]
        return [self.least if number > self.most else number for number in numbers]

    def _number(self, word: str) -> int:
        if _NUMBER.fullmatch(word) is not None:
            if self.least <= int(word) <= self.most + self.again:
                return int(word)
            message = f"{word} is out of range"
            raise _WrongPart(message)
        for number, name in enumerate(self.names, self.least):
            if len(word) >= 3 and name.startswith(word):
                return number
        message = f"{word!r} is not understood"
        raise _WrongPart(message)

    def _wrong(self, given: object, why: Exception) -> ValueError:
        allowed = f"{self.least} to {self.most + self.again}"
        for name in self.names[:1]:
            allowed += f" or a name such as {name!r} or {name[:3]!r}"
        return ValueError(
            f"crontab: {self.name}={given!r}: {why}; give {allowed}, "
            "as a number, a range ('2-5'), a step ('*/5') or a list of them"
        )


MINUTE = Field("minute", 0, 59)
HOUR = Field("hour", 0, 23)
DAY_OF_WEEK = Field("day_of_week", 0, 6, _DAYS, again=True)
DAY_OF_MONTH = Field("day_of_month", 1, 31)
MONTH_OF_YEAR = Field("month_of_year", 1, 12, _MONTHS)
FIELDS = (MINUTE, HOUR, DAY_OF_WEEK, DAY_OF_MONTH, MONTH_OF_YEAR)
"""In Celery's order."""


class _WrongPart(Exception):
    """A part of a field means nothing; says only why."""


def _parts(given: Given) -> Iterator[str]:
    """Yield what stands between the commas, in lower case and without leading zeros."""
    if isinstance(given, str):
        for part in given.lower().split(","):
            word = part.strip()
            if not word:
                raise _WrongPart("a part of it is empty")
            yield str(int(word)) if _NUMBER.fullmatch(word) else word
        return
    if isinstance(given, int) and not isinstance(given, bool):
        yield str(given)
        return
    for item in _items(given):
        if not isinstance(item, int | str):
            message = f"{item!r} in it is neither a number nor a text"
            raise _WrongPart(message)
        yield from _parts(item)


def _items(given: object) -> list[object]:
    """Return what is in a list; what the annotation promises is checked."""
    if isinstance(given, bool | bytes) or not isinstance(given, Iterable):
        raise _WrongPart("it is neither a number, nor a text, nor a list of these")
    items = list(cast("Iterable[object]", given))
    if not items:
        raise _WrongPart("it is empty")
    return items
