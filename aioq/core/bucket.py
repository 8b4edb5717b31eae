"""Limits as values: `TokenBucket` and `Concurrency`, what a rate says in text, and the pure model.

A rate is turned into whole numbers once, here; from then on nothing is rounded.  `Bucket` does with
them what `include/bucket.lua` does on the server, and a test compares the two.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple, cast

from aioq.core.clock import LONGEST
from aioq.core.errors import ConfigurationError

Key = Callable[..., Any]
"""Called as the task would be; see `aioq.core.holds`."""
MOST_TOKENS = 1_000_000_000
_EXACT = 2**53 - 1
"""The largest whole number that Lua can count to."""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_RATE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:/\s*([smhd]))?\s*")
_FORM = 'a rate is text such as "10/s", "10/m", "100/h" or "1000/d", or a number per second'


class Numbers(NamedTuple):
    """A rate in whole numbers: `rate` units come per microsecond, and a token is `per_us` units."""

    rate: int
    per_us: int
    burst: int

    @property
    def text(self) -> str:
        """As the server keeps it."""
        return f"{self.rate} {self.per_us} {self.burst}"

    @property
    def pace(self) -> tuple[float, float]:
        """Tokens, and the seconds in which they come; in a unit of ours, where they are whole."""
        second = Fraction(self.rate * 1_000_000, self.per_us)
        for unit in _UNITS.values():
            if (second * unit).denominator == 1:
                return float(second * unit), float(unit)
        return (float(second), 1.0) if second > 1 else (1.0, float(1 / second))


@dataclass(frozen=True, slots=True)
class TokenBucket:
    """A rate limit: `rate` tokens come in `per` seconds, and at most `burst` lie ready.

    An idle bucket lets exactly `burst` through at once; in any window W it lets at most
    `rate x W / per + burst` through.
    """

    rate: float
    per: float = 1
    """Seconds."""
    burst: int | None = None
    """None: `rate`, rounded up."""
    key: Key | None = field(default=None, kw_only=True)
    """Called as the task would be; each key has a bucket of its own."""
    cost: int | Key = field(default=1, kw_only=True)
    """Tokens that one start takes; a function is called as the task would be."""

    def __post_init__(self) -> None:
        _check(self, "rate", self.rate, 0, MOST_TOKENS)
        _check(self, "per", self.per, 0, LONGEST)
        if self.burst is None:
            object.__setattr__(self, "burst", max(1, math.ceil(self.rate)))
        _check_whole(self, "burst", self.burst, MOST_TOKENS)
        _check_callable(self, "key", self.key)
        if not callable(self.cost):
            _check_whole(self, "cost", self.cost, cast("int", self.burst))
        _ = self.numbers

    @property
    def numbers(self) -> Numbers:
        """The rate in whole numbers."""
        burst = cast("int", self.burst)
        pace = _exact(self.rate) / (_exact(self.per) * 1_000_000)
        pace = pace.limit_denominator(_EXACT // burst)
        if not 0 < pace.numerator <= _EXACT:
            message = (
                f"TokenBucket: rate={self.rate!r} in per={self.per!r} s with a burst of {burst} "
                "cannot be counted exactly; give another burst, or another `per`"
            )
            raise ConfigurationError(message)
        return Numbers(pace.numerator, pace.denominator, burst)


@dataclass(frozen=True, slots=True)
class Concurrency:
    """A limit on jobs that run at the same time, across all workers."""

    limit: int
    key: Key | None = field(default=None, kw_only=True)
    """Called as the task would be; each key has slots of its own."""
    name: str | None = field(default=None, kw_only=True)
    """Tasks that give the same name share the slots; None: the task's name."""

    def __post_init__(self) -> None:
        _check_whole(self, "limit", self.limit, MOST_TOKENS)
        _check_callable(self, "key", self.key)
        given = cast("object", self.name)  # what its annotation promises is checked here
        if given is not None and (not isinstance(given, str) or not given):
            message = f"Concurrency: name={given!r} is wrong: it is text"
            raise ConfigurationError(message)


Rate = TokenBucket | str | float
"""What `rate_limit` takes, one or several of them."""


def read_rate(given: object, *, where: str) -> TokenBucket | None:
    """Read a rate as Celery writes it; None and 0 are no limit.

    Raises:
        ConfigurationError: it is none; the message has the form.
    """
    if given is None or isinstance(given, TokenBucket):
        return given
    if isinstance(given, (int, float)) and not isinstance(given, bool):
        return TokenBucket(given) if given else None
    found = _RATE.fullmatch(given) if isinstance(given, str) else None
    if found is None:
        message = f"{where}: rate_limit={given!r} is wrong: {_FORM}, or a TokenBucket"
        raise ConfigurationError(message)
    rate = float(found[1])
    return TokenBucket(rate, per=_UNITS[found[2] or "s"]) if rate else None


def read_rates(given: object, *, where: str) -> tuple[TokenBucket, ...]:
    """Read what the option `rate_limit` was given; see `read_rate`."""
    return tuple(rate for each in _several(given) if (rate := read_rate(each, where=where)))


def read_slots(given: object, *, where: str) -> tuple[Concurrency, ...]:
    """Read what the option `max_concurrency` was given.

    Raises:
        ConfigurationError: it is neither a number nor a Concurrency.
    """
    found: list[Concurrency] = []
    for each in _several(given):
        if isinstance(each, Concurrency):
            found.append(each)
        elif isinstance(each, int) and not isinstance(each, bool) and each >= 1:
            found.append(Concurrency(each))
        elif each is not None:
            message = (
                f"{where}: max_concurrency={each!r} is wrong: it is a number of jobs from 1, or a "
                "Concurrency; None for no limit"
            )
            raise ConfigurationError(message)
    return tuple(found)


def _several(given: object) -> Sequence[object]:
    return cast("Sequence[object]", given) if isinstance(given, (list, tuple)) else (given,)


@dataclass
class Bucket:
    """One bucket: what `include/bucket.lua` keeps on the server."""

    numbers: Numbers
    level: int = -1
    """Units; -1: it is full."""
    then_us: int = 0
    """When the level was right."""

    def __post_init__(self) -> None:
        if self.level < 0:
            self.level = self.capacity

    @classmethod
    def stored(cls, numbers: str, state: str) -> "Bucket":
        """Read a bucket as the server keeps it; no state: it is full."""
        known = Numbers(*map(int, numbers.split()))
        if not state:
            return cls(known)
        level, then_us, per_us = map(int, state.split()[:3])
        return cls(known, level * known.per_us // per_us, then_us)

    def tokens(self, now_us: int) -> int:
        """Return how many tokens lie ready."""
        return self._level_at(now_us) // self.numbers.per_us

    @property
    def capacity(self) -> int:
        """Units of a full bucket."""
        return self.numbers.burst * self.numbers.per_us

    def wait_us(self, now_us: int, cost: int = 1) -> int:
        """Return after how many microseconds so many tokens are there; 0: they are."""
        missing = self._price(cost) - self._level_at(now_us)
        return max(-(-missing // self.numbers.rate), 0)

    def take(self, now_us: int, cost: int = 1) -> bool:
        """Take tokens; False: they are not there, and nothing was taken."""
        if self.wait_us(now_us, cost):
            return False
        self.level, self.then_us = self._level_at(now_us) - self._price(cost), now_us
        return True

    def _level_at(self, now_us: int) -> int:
        gain = max(now_us - self.then_us, 0) * self.numbers.rate
        return min(self.level + gain, self.capacity)

    def _price(self, cost: int) -> int:
        """Units; a limit that was lowered under a cost must not hold it up for ever."""
        return min(cost, self.numbers.burst) * self.numbers.per_us


def bare(limit: TokenBucket | Concurrency) -> TokenBucket | Concurrency:
    """Return the numbers of a limit alone, without what says how a task uses it."""
    if isinstance(limit, TokenBucket):
        return TokenBucket(limit.rate, limit.per, limit.burst)
    return Concurrency(limit.limit)


def _exact(value: float) -> Fraction:
    """Return what was meant: 1/3 for 0.3333333333333333, 1/10 for 0.1."""
    simple = Fraction(value).limit_denominator(1_000_000_000)
    return simple if float(simple) == value else Fraction(value)


def _check(owner: object, name: str, value: object, low: float, high: float) -> None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not low < cast("float", value) <= high:  # also nan
        message = (
            f"{type(owner).__name__}: {name}={value!r} is wrong: "
            f"it is a number above {low:g}, at most {high:g}"
        )
        raise ConfigurationError(message)


def _check_whole(owner: object, name: str, value: object, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= high:
        limit = "the burst, so that it can ever start" if name == "cost" else f"{high:,}"
        message = (
            f"{type(owner).__name__}: {name}={value!r} is wrong: "
            f"it is a whole number from 1 to {limit}"
        )
        raise ConfigurationError(message)


def _check_callable(owner: object, name: str, value: object) -> None:
    if value is not None and not callable(value):
        message = (
            f"{type(owner).__name__}: {name}={value!r} is wrong: it is a function of the task's "
            f"arguments, such as lambda user_id, **_: user_id"
        )
        raise ConfigurationError(message)
