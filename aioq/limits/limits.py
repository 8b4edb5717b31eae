"""The limits of an app: what its code declares, and what is changed at run time.

A limit is known by its name.  One that is set at run time wins over the code until it is reset, so
it outlives deploys.
"""

import difflib
import logging
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from aioq.broker.broker import Broker
from aioq.broker.client import Client
from aioq.broker.limits import Described, LimitStore, Numbers
from aioq.core import bucket, holds
from aioq.core.bucket import Concurrency, TokenBucket
from aioq.core.errors import ConfigurationError
from aioq.core.holds import Limit
from aioq.core.listing import Listing

log: logging.Logger = logging.getLogger("aioq.limits")

Kind = Literal["rate", "concurrency"]
_RUN_TIME = "run time"


@dataclass(frozen=True, slots=True)
class LimitInfo:
    """A limit as it holds now."""

    name: str
    kind: Kind
    rate: float | None
    """Tokens that come in `per` seconds; None for a concurrency limit."""
    per: float | None
    burst: int | None
    max_concurrency: int | None
    """None for a rate limit."""
    source: str
    """Where its numbers are from: the source that declares it, or "run time"."""
    available: int | None
    """Tokens that lie ready; None for a concurrency limit."""
    held: int | None
    """Slots that are taken; None for a rate limit."""
    waiting: int
    """Jobs that wait because of it, or in line with one that does."""


class Limits:
    """The limits of an app; `app.limits`."""

    def __init__(self, client: Client, source: Callable[[], str]) -> None:
        self._client = client
        self._source = source
        self._declared: dict[str, tuple[Limit, str]] = {}
        self._versions: dict[str, int] = {}

    def add(self, limits: Iterable[Limit], *, owner: str) -> None:
        """Note limits that the code declares.

        Raises:
            ConfigurationError: another owner has given one of the names to other numbers.
        """
        for limit in limits:
            known, other = self._declared.get(limit.field, (limit, owner))
            if known.numbers != limit.numbers and other != owner:
                message = (
                    f"{other} and {owner} define the limit {limit.name!r} in two ways: "
                    f"{bucket.bare(known.value)} and "
                    f"{bucket.bare(limit.value)}; give both the same numbers, or one "
                    "of them another name"
                )
                raise ConfigurationError(message)
            self._declared[limit.field] = limit, owner

    async def set(self, name: str, limit: TokenBucket | Concurrency | str) -> None:
        """Set a limit at run time, for all workers, until it is reset.

        It holds at once, also for jobs that wait already; a change may let a burst through once.
        A name that no code declares is set too, with a warning: a limiter may use it, or the next
        deploy.

        Args:
            name: of the limit; a task's name, where it has no other.
            limit: a `TokenBucket`, a `Concurrency`, or a rate such as "10/m".  Keys and costs are
                the code's: they cannot be given here.

        Raises:
            ConfigurationError: it is no limit, or the name is none.
            BrokerUnavailable: the server stayed away for `Settings.enqueue_timeout`.
        """
        check_name(name, where="app.limits.set")
        value = _value_of(limit)
        field = holds.field(value, name)
        if not await self._store.change(field, holds.numbers(value)):
            await self._warn_undeclared(field, name)

    async def reset(self, name: str) -> None:
        """Go back to what the code declares, where a limit was set at run time.

        Raises:
            ConfigurationError: the name is none.
            BrokerUnavailable: the server stayed away for `Settings.enqueue_timeout`.
        """
        check_name(name, where="app.limits.reset")
        for kind in ("b", "c"):
            await self._store.change(f"{kind}:{holds.encode_name(name)}", "")

    def list(self, *, key: object = "") -> Listing[LimitInfo]:
        """List the limits by name; `async for`, or `await` for a list.

        Args:
            key: whose tokens and slots are shown, of a limit with keys; default: those of a limit
                without.

        Raises:
            BrokerUnavailable: the server stayed away for `Settings.enqueue_timeout`.
        """
        text = holds.encode_key(key)

        async def read() -> AsyncGenerator[LimitInfo]:
            store = self._store
            fields = await store.fields()
            fields.sort(key=lambda field: (holds.decode_name(field[2:]), field))
            at = 0
            async for described in store.describe(fields, text):
                field, at = fields[at], at + 1
                if described.changed or described.declared:
                    yield _info(field, described, await store.waiting(field))

        return Listing(read)

    async def declare(self, *, patience: float | None) -> None:
        """Tell the server which limits the code has; those it had before are gone.

        Once for each start of a worker, and again where the server may have forgotten them; the
        newest process wins, whoever tells it again.
        """
        await self._declare(self._declared.values(), is_complete=True, patience=patience)

    async def declare_one(self, limit: Limit, broker: Broker) -> None:
        """Tell the server of one more limit."""
        await self._declare([(limit, "")], is_complete=False, patience=broker.enqueue_timeout)

    async def _declare(
        self, declared: Iterable[tuple[Limit, str]], *, is_complete: bool, patience: float | None
    ) -> None:
        url = self._client.topology.url
        self._versions[url] = await self._store.declare(
            self._source().replace(" ", "_"),  # it is one word of what is stored
            [Numbers(limit.field, limit.numbers) for limit, _ in declared],
            version=self._versions.get(url, 0),
            is_complete=is_complete,
            patience=patience,
        )

    @property
    def _store(self) -> LimitStore:
        return LimitStore(self._client.broker())

    async def _warn_undeclared(self, field: str, name: str) -> None:
        fields = await self._store.fields()
        kinds = {"b": "rate", "c": "concurrency"}
        kind, other = field[0], "c" if field[0] == "b" else "b"
        near = difflib.get_close_matches(
            name, {holds.decode_name(each[2:]) for each in fields if each != field}, n=1
        )
        hint = f"; did you mean {near[0]!r}?" if near else "."
        if f"{other}{field[1:]}" in fields:
            hint = f"; it is the name of a {kinds[other]} limit."
        log.warning(
            "The limit %r is set, but no worker has declared a %s limit of this name yet%s",
            name,
            kinds[kind],
            hint,
        )


def check_name(name: object, *, where: str) -> None:
    """Refuse what cannot be the name of a limit.

    Raises:
        ConfigurationError: it is no text, or empty.
    """
    if not isinstance(name, str) or not name:
        message = f'{where}: name={name!r} is wrong: it is text, such as "stripe"'
        raise ConfigurationError(message)


def _value_of(given: object) -> TokenBucket | Concurrency:
    if isinstance(given, Concurrency):
        value = given
    else:
        value = bucket.read_rate(given, where="app.limits.set") if given else None
    if value is None or isinstance(given, (int, float)):
        message = (
            f"app.limits.set: {given!r} is no limit: give a TokenBucket, a Concurrency, or a rate "
            'such as "10/m"; app.queues.pause() stops a queue altogether'
        )
        raise ConfigurationError(message)
    if bucket.bare(value) != value:
        message = (
            f"app.limits.set: {given!r} has a key or a cost, which are the code's: give its "
            "numbers alone"
        )
        raise ConfigurationError(message)
    return value


def _info(field: str, described: Described, waiting: int) -> LimitInfo:
    numbers = described.numbers.split()
    rates = bucket.Numbers(*map(int, numbers)) if field[0] == "b" else None
    rate, per = rates.pace if rates else (None, None)
    return LimitInfo(
        name=holds.decode_name(field[2:]),
        kind="rate" if rates else "concurrency",
        rate=rate,
        per=per,
        burst=rates.burst if rates else None,
        max_concurrency=None if rates else int(numbers[0]),
        source=_RUN_TIME if described.changed else described.source,
        available=described.figure if rates else None,
        held=None if rates else described.figure,
        waiting=waiting,
    )
