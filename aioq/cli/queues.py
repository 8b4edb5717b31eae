"""`aioq queues`: what waits in each queue; pause one, resume it."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any, TypeVar

import click

from aioq.app import Aioq
from aioq.cli import discovery, flags, table
from aioq.cli.failures import from_server, note
from aioq.cli.values import dump
from aioq.core import options
from aioq.core.errors import ConfigurationError
from aioq.core.record import QueueInfo

Command = TypeVar("Command", bound=Callable[..., Any])


@click.group()
def queues() -> None:
    """List, pause and resume queues.

    An app (-A, AIOQ_APP, pyproject.toml) says its name and its server; with --name none is
    imported.
    """


def _common(command: Command) -> Command:
    for option in (
        flags.app_option,
        flags.setting_options("url"),
        click.option("--name", help="The namespace, where no app is given.  [default: aioq]"),
        click.option("--json", "as_json", is_flag=True, help="Print an object."),
    )[::-1]:
        command = option(command)
    return command


@queues.command("list")
@_common
def list_queues(*, as_json: bool, **connection: Any) -> None:  # noqa: ANN401 - see _common
    """List the queues: those with jobs, those that live workers serve, and those that are paused.

    READY jobs can be taken now, HELD ones wait for a limit; OLDEST is how long the first of both
    has waited.
    """
    app, _ = discovery.named_or_bare(**connection)
    with from_server():
        found = asyncio.run(_listed(app))
    if as_json:
        facts = {"schema": 1, "name": app.name, "queues": [asdict(each) for each in found]}
        click.echo(dump(facts))
    elif found:
        columns = ("QUEUE", "READY", "HELD", "RUNNING", "OLDEST", "WORKERS", "PAUSED")
        table.echo(columns, [_row(each) for each in found])
    else:
        note(f"no queue of {app.name!r} has jobs or a live worker; is it --name, or -A?")


@queues.command()
@click.argument("names", nargs=-1, required=True, metavar="QUEUE...")
@_common
def pause(names: tuple[str, ...], *, as_json: bool, **connection: Any) -> None:  # noqa: ANN401
    """Hand no more jobs of a queue out, to any worker, until it is resumed.

    What runs goes on; what comes or becomes due waits.
    """
    _change(names, connection, paused=True, as_json=as_json)


@queues.command()
@click.argument("names", nargs=-1, required=True, metavar="QUEUE...")
@_common
def resume(names: tuple[str, ...], *, as_json: bool, **connection: Any) -> None:  # noqa: ANN401
    """End the pause of a queue."""
    _change(names, connection, paused=False, as_json=as_json)


def _change(
    names: Sequence[str], connection: dict[str, Any], *, paused: bool, as_json: bool
) -> None:
    try:
        for name in names:
            options.queue_name(name)
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from error
    app, _ = discovery.named_or_bare(**connection)
    with from_server():
        changes, unknown = asyncio.run(_changed(app, names, paused=paused))
    if as_json:
        facts = [
            {"name": name, "paused": paused, "changed": changed}
            for name, changed in changes.items()
        ]
        click.echo(dump({"schema": 1, "name": app.name, "queues": facts}))
    else:
        state = "paused" if paused else "not paused"
        for name, changed in changes.items():
            before = "was already" if paused else "was"
            now = "is now" if paused else "is no longer"
            click.echo(f"{name} {now} paused" if changed else f"{name} {before} {state}")
    for name in unknown:
        note(f"nothing is known of a queue {name!r} of {app.name!r} yet; is it --name, or -A?")


async def _listed(app: Aioq) -> list[QueueInfo]:
    try:
        return await app.queues.list()
    finally:
        await app.aclose()


async def _changed(
    app: Aioq, names: Sequence[str], *, paused: bool
) -> tuple[dict[str, bool], list[str]]:
    """Pause or resume; return what that changed, and the queues that nobody uses yet."""
    change = app.queues.pause if paused else app.queues.resume
    try:
        changes = {name: await change(name) for name in dict.fromkeys(names)}
        in_use = {
            each.name
            async for each in app.queues.list()
            if each.depth or each.held or each.running or each.workers
        }
    finally:
        await app.aclose()
    return changes, [name for name in changes if name not in in_use]


def _row(info: QueueInfo) -> tuple[str, ...]:
    age = info.oldest_age
    return (
        info.name,
        str(info.depth),
        str(info.held),
        str(info.running),
        "-" if age is None else str(timedelta(seconds=int(age))),
        str(info.workers),
        "yes" if info.paused else "no",
    )
