"""The holds of a job: which limits it starts under, and whose turn it takes.

They are worked out where a job is made, and travel with it as a text of tokens: `f:<fair key>`,
`b:<name>:<key>=<cost>` for a token bucket, `c:<name>:<key>` for slots.  So whoever hands the job
out need not know its task.
"""

import enum
import hashlib
import inspect
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast
from urllib.parse import unquote

from aioq.core.bucket import Concurrency, TokenBucket
from aioq.core.errors import ConfigurationError
from aioq.core.options import TaskDefinition

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
_LONGEST_KEY = 40
_RESERVED = re.compile(r"[\s:=%]")


class Limit(NamedTuple):
    """A limit as a task is under it."""

    name: str
    value: TokenBucket | Concurrency

    @property
    def field(self) -> str:
        """What the server knows it by."""
        return field(self.value, self.name)

    @property
    def numbers(self) -> str:
        """As the server keeps them."""
        return numbers(self.value)


def field(value: TokenBucket | Concurrency, name: str) -> str:
    """Return what the server knows a limit by."""
    return f"{'b' if isinstance(value, TokenBucket) else 'c'}:{encode_name(name)}"


def numbers(value: TokenBucket | Concurrency) -> str:
    """Return the numbers of a limit as the server keeps them."""
    return value.numbers.text if isinstance(value, TokenBucket) else str(value.limit)


def encode_name(name: str) -> str:
    """Escape what has a meaning in a token: spaces, `:`, `=`, and `%` itself."""
    return _RESERVED.sub(lambda found: "".join(f"%{x:02X}" for x in found[0].encode()), name)


def decode_name(text: str) -> str:
    """Return the name that `encode_name` was given."""
    return unquote(text)


def encode_key(key: object) -> str:
    """Return a key as text without spaces and `=`: itself, or where it cannot be, a digest of it.

    Raises:
        TypeError: it is neither text nor a number, a UUID or an Enum of these.
    """
    value = key.value if isinstance(key, enum.Enum) else key
    if not isinstance(value, (str, int, uuid.UUID)):
        message = f"{key!r} is no key: it is a str, an int, a UUID or an Enum of these"
        raise TypeError(message)
    text = str(value)
    plain = text.isprintable() and not set(text) & {" ", "="} and not text.startswith("#")
    if plain and len(text) <= _LONGEST_KEY:
        return text
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=9)
    return f"#{digest.hexdigest()}"


def limits_of(definition: TaskDefinition) -> tuple[Limit, ...]:
    """Return the limits of a task under their names: its own name, unless they have others.

    Raises:
        ConfigurationError: names and limits do not go together.
    """
    task, shared = definition.name, definition.rate_limit_name
    rates, slots = definition.rate_limit, definition.max_concurrency
    if shared is not None and len(rates) != 1:
        message = (
            f"task {task}: rate_limit_name={shared!r} names one rate limit, and there are "
            f"{len(rates)}; give it with one rate_limit, the same for all tasks that share it"
        )
        raise ConfigurationError(message)
    found = [Limit(shared or _numbered(task, n), rate) for n, rate in enumerate(rates)]
    found += [Limit(each.name or _numbered(task, n), each) for n, each in enumerate(slots)]
    fields = [limit.field for limit in found]
    for limit in found:
        if fields.count(limit.field) > 1:
            message = f"task {task}: two of its limits are named {limit.name!r}; name one otherwise"
            raise ConfigurationError(message)
    return tuple(found)


def _numbered(task: str, index: int) -> str:
    """Name the limits of one kind that have no name: mail.send, mail.send#2."""
    return f"{task}#{index + 1}" if index else task


def holds_of(definition: TaskDefinition, signature: inspect.Signature) -> "Holds | None":
    """Return what works out the holds of a task's calls; None: it has no limits.

    Raises:
        ConfigurationError: names and limits do not go together.
    """
    has_limits = definition.rate_limit or definition.max_concurrency or definition.fair_by
    return Holds(definition, signature) if has_limits else None


class Holds:
    """Works out the holds of the calls of one task.

    Keys, costs and `fair_by` are called with every parameter of the task by its name, defaults
    included, so `lambda user_id, **_: user_id` does however the task was called.  Only where a
    call fills the task's `*args` are they called as the task itself is.
    """

    def __init__(self, definition: TaskDefinition, signature: inspect.Signature) -> None:
        self.task: str = definition.name
        self.limits: tuple[Limit, ...] = limits_of(definition)
        self._signature = signature
        self._fair_by = definition.fair_by
        asks = [limit.value.key for limit in self.limits]
        asks += [each.cost for each in definition.rate_limit if callable(each.cost)]
        self.constant: str | None = None
        """The holds of every call, where they do not depend on its arguments."""
        if self._fair_by is None and not any(asks):
            self.constant = self._tokens(((), {}))

    def of(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """Return the holds of a call that fits the signature.

        Raises:
            ConfigurationError: a key, a cost or `fair_by` raised, or returned what is none.
        """
        if self.constant is not None:
            return self.constant
        return self._tokens(named(self._signature, args, kwargs))

    def _tokens(self, arguments: Arguments) -> str:
        tokens: list[str] = []
        if self._fair_by is not None:
            tokens.append(f"f:{self._key(self._fair_by, 'fair_by', arguments)}")
        for limit in self.limits:
            value = limit.value
            option = "rate_limit" if isinstance(value, TokenBucket) else "max_concurrency"
            key = value.key and self._key(value.key, f"the key of {option}", arguments)
            token = f"{limit.field}:{key or ''}"
            cost = self._cost(value, arguments) if isinstance(value, TokenBucket) else 1
            tokens.append(token if cost == 1 else f"{token}={cost}")
        return " ".join(tokens)

    def _key(self, function: Callable[..., Any], what: str, arguments: Arguments) -> str:
        found = call_for_key(function, what, arguments, task=self.task)
        try:
            return encode_key(found)
        except TypeError as error:
            message = f"task {self.task}: {what} returned {error}"
            raise ConfigurationError(message) from None

    def _cost(self, bucket: TokenBucket, arguments: Arguments) -> int:
        if not callable(bucket.cost):
            return bucket.cost
        cost = call_for_key(bucket.cost, "the cost of rate_limit", arguments, task=self.task)
        burst = cast("int", bucket.burst)
        if not isinstance(cost, int) or isinstance(cost, bool) or not 1 <= cost <= burst:
            message = (
                f"task {self.task}: the cost of rate_limit returned {cost!r}; it is a whole number "
                f"from 1 to the burst of {burst:,}, or the job could never start"
            )
            raise ConfigurationError(message)
        return cost


def named(
    signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Arguments:
    """Return the arguments of a call as keys are called with them: by name, defaults included."""
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    found = dict(bound.arguments)
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL and found.pop(parameter.name):
            return bound.args, bound.kwargs
        if parameter.kind is parameter.VAR_KEYWORD:
            found.update(found.pop(parameter.name))
    return (), found


def call_for_key(
    function: Callable[..., Any], what: str, arguments: Arguments, *, task: str
) -> object:
    """Call what the user gave for a key, or for a cost.

    Raises:
        ConfigurationError: it raised.
    """
    args, kwargs = arguments
    try:
        return function(*args, **kwargs)
    except Exception as error:
        message = (
            f"task {task}: {what} raised {type(error).__name__}: {error}; it is called with the "
            "task's arguments by their names, as lambda user_id, **_: user_id takes them"
        )
        raise ConfigurationError(message) from error
