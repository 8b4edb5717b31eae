"""`aioq queues`: what waits in each queue; pause one, resume it."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import click

from aioq.app import Aioq
from aioq.cli import namespace, table
from aioq.cli.failures import note
from aioq.cli.values import dump
from aioq.core import options
from aioq.core.errors import ConfigurationError
from aioq.core.record import QueueInfo


@click.group(cls=namespace.Listing)
def queues() -> None:
    """List, pause and resume queues. Alone, it lists them.

    An app (-A, AIOQ_APP, pyproject.toml) says its name and its server; with --name none is
    imported.
    """


@queues.command("list")
@namespace.options
def list_queues(*, as_json: bool, **connection: Any) -> None:  # noqa: ANN401 - see namespace.options
    """List the queues: those with jobs, those that live workers serve, and those that are paused.

    READY jobs can be taken now, HELD ones wait for a limit; OLDEST is how long the first of both
    has waited.
    """
    app = namespace.app(**connection)

    async def listed() -> list[QueueInfo]:
        return await app.queues.list()

    found = namespace.ask(app, listed)
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
@namespace.options
def pause(names: tuple[str, ...], *, as_json: bool, **connection: Any) -> None:  # noqa: ANN401
    """Hand no more jobs of a queue out, to any worker, until it is resumed.

    What runs goes on; what comes or becomes due waits.
    """
    _change(names, connection, paused=True, as_json=as_json)


@queues.command()
@click.argument("names", nargs=-1, required=True, metavar="QUEUE...")
@namespace.options
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
    app = namespace.app(**connection)
    changes, unknown = namespace.ask(app, lambda: _changed(app, names, paused=paused))
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


async def _changed(
    app: Aioq, names: Sequence[str], *, paused: bool
) -> tuple[dict[str, bool], list[str]]:
    """Pause or resume; return what that changed, and the queues that nobody uses yet."""
    change = app.queues.pause if paused else app.queues.resume
    changes = {name: await change(name) for name in dict.fromkeys(names)}
    in_use = {
        each.name
        async for each in app.queues.list()
        if each.depth or each.held or each.running or each.workers
    }
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
