"""What the commands have in common that run until a signal ends them."""

import asyncio
import logging
from collections.abc import Callable
from typing import NamedTuple, cast

import click

from aioq.broker.resp import ReplyError
from aioq.broker.weather import Weather
from aioq.cli.blame import explain
from aioq.cli.failures import Failure, NotLoaded, debugging, no_server
from aioq.core.errors import BrokerUnavailable, ConfigurationError

log: logging.Logger = logging.getLogger("aioq.worker")


class Loop(NamedTuple):
    """The event loop in which it runs."""

    name: str
    factory: Callable[[], asyncio.AbstractEventLoop] | None


def best_loop() -> Loop:
    """Return uvloop where it is installed."""
    try:
        import uvloop  # noqa: PLC0415 - an extra
    except ImportError:
        return Loop("asyncio", None)
    return Loop("uvloop", uvloop.new_event_loop)


def failure_of(error: Exception, what: str, *, has_started: bool) -> click.ClickException:
    """Return how to end for an error that ended it.

    Args:
        error: the error, or a group of task groups with it.
        what: what was run, such as "worker".
        has_started: whether it had begun its work.
    """
    error = _only(error)
    if isinstance(error, (BrokerUnavailable, Weather, ReplyError)):
        return no_server(error)
    if not has_started:  # the lifespan, or a task that cannot be run as declared
        if isinstance(error, ConfigurationError):
            return NotLoaded(str(error))
        return NotLoaded(f"the app could not be started:\n{explain(error)}")
    if not debugging():
        log.critical("The %s ends because of an error.", what, exc_info=error)
    return Failure(f"the {what} ended because of {error!r}")


def _only(error: Exception) -> Exception:
    """Return the first error of a group, such as those of task groups; else the error itself."""
    while isinstance(error, ExceptionGroup):
        error = cast("ExceptionGroup[Exception]", error).exceptions[0]
    return error
