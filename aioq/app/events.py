"""What an app has to do with the events that durable tasks wait for."""

from typing import Any, Protocol

from aioq.broker.client import Client
from aioq.broker.memos import Event
from aioq.core import codec
from aioq.core.errors import PayloadTooLarge
from aioq.core.retry import seconds_of
from aioq.core.settings import Settings
from aioq.durable import check_event
from aioq.job import refuse_in_loop

_A_DAY = 86400.0


class _App(Protocol):
    settings: Settings

    @property
    def client(self) -> Client: ...


class Signalling:
    """The part of an app that sends events."""

    async def send_event(
        self: _App,
        name: str,
        value: Any = None,  # noqa: ANN401 - whatever MessagePack can hold
        *,
        job_id: str | None = None,
        keep: float = _A_DAY,
    ) -> int:
        """Send an event to every job that waits for it with `ctx.wait_event(name)`.

        Args:
            name: of the event.
            value: what the waits return; any value that a task could return.
            job_id: only this job gets it, now or when it waits for it, for as long as it lives.
            keep: seconds for which jobs that begin to wait later get it, if they were enqueued
                before it was sent; of one name the last 100 are kept.

        Returns:
            How many jobs waited for it.

        Raises:
            ConfigurationError: the name is none.
            PayloadTooLarge: see `Settings.max_payload`; nothing was sent.
            BrokerUnavailable: the server stayed away for `Settings.enqueue_timeout`.
        """
        return await _event(self, name, value, job_id, keep).send(self.client.broker())

    def send_event_sync(
        self: _App,
        name: str,
        value: Any = None,  # noqa: ANN401 - whatever MessagePack can hold
        *,
        job_id: str | None = None,
        keep: float = _A_DAY,
    ) -> int:
        """`send_event` from plain sync code."""
        refuse_in_loop("send_event_sync", "await app.send_event(...)")
        return _event(self, name, value, job_id, keep).send_sync(self.client.sync())


def _event(app: _App, name: str, value: object, job_id: str | None, keep: float) -> Event:
    check_event(name)
    try:
        encoded = codec.encode_value(value)
    except (TypeError, OverflowError, ValueError, RecursionError) as error:
        message = f"the value of event {name!r} cannot be serialised: {error}"
        raise TypeError(message) from None
    most = app.settings.max_payload
    if len(encoded) > most:
        message = (
            f"the value of event {name!r} takes {len(encoded):,} bytes, more than "
            f"max_payload={most:,}; store the data elsewhere and send its key"
        )
        raise PayloadTooLarge(message)
    return Event.new(name, encoded, keep=seconds_of(keep, "keep"), job_id=job_id or "")
