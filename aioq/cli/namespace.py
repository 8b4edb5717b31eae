"""Commands about what is on a server under an app's name, whether or not its code is here."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import click

from aioq.app import Aioq
from aioq.cli import discovery, flags
from aioq.cli.failures import from_server

Command = TypeVar("Command", bound=Callable[..., Any])
T = TypeVar("T")


class Listing(click.Group):
    """Commands on things that can be listed; where none is named, they are."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line as if `list` were there, unless it asks for something else."""
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)


def options(command: Command) -> Command:
    """Give a command what says where to look: an app, a server, a name; and `--json`."""
    for option in (
        flags.app_option,
        flags.setting_options("url"),
        click.option("--name", "namespace", help="Where no app is given.  [default: aioq]"),
        click.option("--json", "as_json", is_flag=True, help="Print an object."),
    )[::-1]:
        command = option(command)
    return command


def app(*, namespace: str | None, **connection: Any) -> Aioq:  # noqa: ANN401 - see options
    """Return the app that is meant; see `discovery.named_or_bare`."""
    return discovery.named_or_bare(name=namespace, **connection)[0]


def ask(app: Aioq, question: Callable[[], Awaitable[T]]) -> T:
    """Ask the server in a loop of its own."""

    async def asked() -> T:
        try:
            return await question()
        finally:
            await app.aclose()

    with from_server():
        return asyncio.run(asked())
