"""How a command ends when it cannot do what it was asked: one message, and an exit code.

1 the thing asked for failed, 2 wrong usage (click's `UsageError`), 3 the app cannot be loaded,
4 the server cannot be reached or refuses, 5 timed out.
"""

import os
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from typing import IO, Any

import click

from aioq.broker.weather import Refused, Weather
from aioq.core.errors import AioqError, BrokerFull, BrokerUnavailable


class Failure(click.ClickException):
    """The thing asked for failed."""

    exit_code = 1

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message; the traceback of its cause only for who debugs."""
        if debugging() and self.__cause__ is not None:
            traceback.print_exception(self.__cause__)
        label = click.style("Error:", fg="red", bold=True)
        click.echo(f"{label} {self.format_message()}", file=file, err=True, color=colour())


class NotLoaded(Failure):
    """The app cannot be imported or loaded."""

    exit_code = 3


class NoServer(Failure):
    """The server cannot be reached, or refuses."""

    exit_code = 4


class TimedOut(Failure):
    """What was waited for did not come in time."""

    exit_code = 5


@contextmanager
def from_server() -> Generator[None]:
    """Report what goes wrong between us and the server."""
    try:
        yield
    except AioqError as error:
        raise no_server(error) from error


def no_server(error: AioqError) -> NoServer:
    """Return the failure for a server that is away or refuses, and say how to mend it."""
    message = str(error)
    is_away = isinstance(error, (BrokerUnavailable, Weather))
    says_how = isinstance(error, (Refused, BrokerFull)) or "AIOQ_URL" in message
    if not is_away or says_how or "embedded" in message:
        return NoServer(message)
    return NoServer(f"{message}; start a server, for example with `aioq server`, or set AIOQ_URL")


def debugging() -> bool:
    """Tell whether tracebacks are wanted."""
    return os.environ.get("AIOQ_DEBUG", "0") not in {"", "0"}


def colour() -> bool | None:
    """Return what click wants to know: False: never; None: where a terminal reads it."""
    return False if os.environ.get("NO_COLOR") else None


def note(message: str) -> None:
    """Tell the user something that is no data."""
    click.echo(f"aioq: {message}", err=True)
