"""`aioq check`: a probe that asks the server only, for health checks and for people."""

import asyncio
import time
from datetime import timedelta

import click

from aioq.app import Aioq
from aioq.broker import inspect
from aioq.broker.inspect import Presence
from aioq.cli import flags, table
from aioq.cli.failures import Failure, from_server
from aioq.cli.values import dump
from aioq.core.errors import ConfigurationError


@click.command()
@click.option("--queue", "queues", multiple=True, help="A live worker must serve it; repeatable.")
@flags.setting_options("url")
@click.option("--name", default="aioq", show_default=True, help="The namespace of the app.")
@click.option("--json", "as_json", is_flag=True, help="Print an object.")
@click.pass_context
def check(
    ctx: click.Context, queues: tuple[str, ...], url: str | None, name: str, *, as_json: bool
) -> None:
    """Tell whether the server and at least one worker are alive; list the workers.

    Exit code 4: the server does not answer; 1: no worker lives, or none serves a given queue.
    The app is not imported.
    """
    flags.refuse_app(ctx)
    chosen = flags.given({"url": url})
    flags.settle(chosen)
    try:
        app = Aioq(name=name)
    except ConfigurationError as error:
        raise click.UsageError(str(error), ctx) from error
    app.override(**chosen)
    with from_server():
        workers = asyncio.run(_workers(app))
    _show(app, workers, as_json=as_json)
    if not workers:
        message = f"no live worker of {name!r} at {app.client.topology.url}"
        raise Failure(message)
    unserved = [each for each in queues if not any(each in worker.queues for worker in workers)]
    if unserved:
        message = f"no live worker serves {', '.join(map(repr, unserved))}"
        raise Failure(message)


async def _workers(app: Aioq) -> list[Presence]:
    try:
        # One attempt: a probe that waits for the server would say too late that it is away.
        found = await inspect.workers(app.client.broker())
    finally:
        await app.aclose()
    return sorted(found, key=lambda each: each.started_at_ms)


def _show(app: Aioq, workers: list[Presence], *, as_json: bool) -> None:
    if as_json:
        click.echo(dump({"schema": 1, "server": app.client.topology.url, "workers": workers}))
        return
    columns = ("WORKER", "HOST", "PID", "QUEUES", "RUNNING", "DONE", "UP", "PYTHON")
    if workers:
        table.echo(columns, [_row(each) for each in workers])


def _row(worker: Presence) -> tuple[str, ...]:
    up = timedelta(seconds=max(0, int(time.time() - worker.started_at_ms / 1000)))
    return (
        worker.worker,
        worker.host,
        str(worker.pid),
        ",".join(worker.queues),
        f"{worker.running}/{worker.concurrency}",
        str(worker.done),
        str(up),
        worker.version,
    )
