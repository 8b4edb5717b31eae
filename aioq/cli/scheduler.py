"""`aioq scheduler`: fire the schedules of an app, in a process that runs no jobs."""

import asyncio
import logging
import os
import sys
from typing import Any

import click

import aioq
from aioq.app import Aioq
from aioq.broker.server import ServerFacts
from aioq.cli import discovery, flags
from aioq.cli.discovery import Found
from aioq.cli.failures import from_server, note
from aioq.cli.service import Loop, best_loop, failure_of
from aioq.observe import logs
from aioq.worker import banner
from aioq.worker.lone_scheduler import LoneScheduler
from aioq.worker.signals import Signals

log: logging.Logger = logging.getLogger("aioq.scheduler")


@click.command(epilog="Workers fire schedules too, unless they are started with --no-scheduler.")
@click.argument("app", required=False, metavar="[MODULE:APP]")
@flags.app_option
@flags.setting_options("url", "log_level", "log_format")
def scheduler(app: str | None, app_flag: str | None, **given: Any) -> None:  # noqa: ANN401 - values of settings
    """Fire the schedules of an app, and run no jobs.

    Any number of them may run: each occurrence is one job all the same. The app is named as for
    `aioq worker`.

    SIGTERM and SIGINT end it. SIGUSR1 writes all stacks to stderr.
    """
    chosen = flags.given(given)
    found = discovery.find(app, app_flag, flags.settle(chosen), say=note)
    made = LoneScheduler(discovery.configured(found, chosen))
    is_flag = not chosen.keys().isdisjoint({"log_level", "log_format"})
    logs.configure(made.settings.log_level, made.settings.log_format, force=is_flag)
    with from_server():
        _ = found.app.server
    loop = best_loop()
    with asyncio.Runner(loop_factory=loop.factory) as runner:
        runner.run(_run(made, found, loop))


async def _run(made: LoneScheduler, found: Found, loop: Loop) -> None:
    signals = Signals(made)
    signals.install()
    ready = asyncio.ensure_future(_say_when_ready(made))
    try:
        _introduce(made.app, _facts(found, loop, await made.glance()))
        await made.run()
    except asyncio.CancelledError:
        if not signals.has_cancelled:
            raise
    except Exception as error:
        raise failure_of(error, "scheduler", has_started=made.started.is_set()) from error
    finally:
        ready.cancel()
        await made.app.aclose()


async def _say_when_ready(made: LoneScheduler) -> None:
    await made.started.wait()
    log.info("Ready: schedules are fired.")


def _facts(found: Found, loop: Loop, server: ServerFacts | None) -> dict[str, str]:
    app = found.app
    return {
        "version": f"{aioq.__version__} (Python {sys.version.partition(' ')[0]})",
        "app": f"{found.reference.name} ({found.how})",
        "source": app.source,
        "server": f"{app.client.topology.url} ({app.server.reason})",
        "persistence": server.persistence if server else "unknown: the server does not answer yet",
        "schedules": ", ".join(sorted(app.declared_schedules())) or "none in the code",
        "loop": loop.name,
        "pid": str(os.getpid()),
    }


def _introduce(app: Aioq, facts: dict[str, str]) -> None:
    if app.settings.log_format == "json":
        log.info("The scheduler starts.", extra=facts)
    else:
        click.echo(banner.render(facts, title="aioq scheduler"), err=True)
