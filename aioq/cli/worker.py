"""`aioq worker`: run the jobs of an app, in this process or in several."""

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import nullcontext, redirect_stderr, suppress
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import click

from aioq.app import Aioq
from aioq.app.environment import DEFAULT_URL
from aioq.broker.server import ServerFacts
from aioq.cli import discovery, flags, leaving, processes, references
from aioq.cli.failures import from_server, note
from aioq.cli.service import Loop, best_loop, failure_of
from aioq.observe import logs
from aioq.worker import Worker, banner, recycling, startup
from aioq.worker.signals import Signals
from aioq.worker.tie import Left, Loaded, Named, Ready, Tie, Words, Worn

log: logging.Logger = logging.getLogger("aioq.worker")

Introduce = Callable[[ServerFacts | None], None]
"""Says what starts, on which server."""


@click.command(
    epilog="Every other setting has its environment variable: AIOQ_LEASE, AIOQ_GRACE, and so on."
)
@click.argument("app", required=False, metavar="[MODULE:APP]")
@flags.app_option
@flags.setting_options("url", "concurrency", "queues", "log_level", "log_format")
@click.option("--burst", is_flag=True, help="Leave when nothing is ready or running.")
@click.option("--no-scheduler", is_flag=True, help="Fire no schedules; others do.")
@flags.setting_options(*processes.FIELDS)
def worker(
    app: str | None,
    app_flag: str | None,
    *,
    burst: bool,
    no_scheduler: bool,
    **given: Any,  # noqa: ANN401 - values of settings
) -> None:
    """Run the jobs of an app.

    The app is MODULE:APP, else -A, AIOQ_APP or [tool.aioq] app in pyproject.toml; else it is
    looked for in tasks.py, app.py, main.py, app/tasks.py and src/*/tasks.py.

    SIGTERM and SIGINT drain: no more jobs are taken, those that run may end. A second signal
    gives them back at once, a third exits. SIGUSR1 writes all stacks to stderr.

    With several processes, or where workers are to be replaced, this one supervises: it runs no
    jobs, passes signals on, and starts another worker where one dies.
    """
    tie = Tie.join()
    chosen = flags.given(given)
    settings = flags.settle(chosen)
    words = processes.words(app, app_flag, chosen, burst=burst, no_scheduler=no_scheduler)
    if not tie.is_held and processes.are_wanted(settings):
        if named := discovery.one_of(app, app_flag):
            references.parse(named, Path.cwd())
        processes.supervise(words, settings, burst=burst)
    notes: list[str] = []
    found = discovery.find(app, app_flag, settings, say=notes.append)
    made = Worker(discovery.configured(found, chosen), burst=burst, scheduler=not no_scheduler)
    settings = made.settings
    if not tie.is_held and processes.are_wanted(settings):
        processes.start_anew(words, settings)
    if not tie.is_restart:
        for each in notes:
            note(each)
    is_flag = not chosen.keys().isdisjoint({"log_level", "log_format"})
    logs.configure(
        settings.log_level, settings.log_format, force=is_flag, pid=tie.is_one_of_several
    )
    # The first of several has said which server was chosen.
    with from_server(), redirect_stderr(StringIO()) if tie.is_restart else nullcontext():
        _ = found.app.server
    tie.tell(_loaded(found.app))
    made.on_registered = lambda name: tie.tell(Named(name))
    loop = best_loop()

    def introduce(server: ServerFacts | None) -> None:
        if not tie.is_restart:
            facts = banner.facts(
                made, app=found.reference.name, found=found.how, loop=loop.name, server=server
            )
            _introduce(made, facts, tie)

    _serve(made, loop, tie, introduce)


def _loaded(app: Aioq) -> Loaded:
    """Return what a supervisor has to know of the app."""
    settings, url = app.settings, app.settings.url
    if url is None and app.server.url != DEFAULT_URL:
        url = "embedded://"
    return Loaded(
        url=app.server.url,
        embedded_url=url if url and url.startswith("embedded:") else "",
        prefix=app.client.keys.prefix,
        grace=settings.grace,
        processes=settings.processes,
    )


def _introduce(made: Worker, facts: dict[str, str], tie: Tie) -> None:
    if tie.is_one_of_several:
        facts["supervisor"] = str(os.getppid())
        facts["processes"] = str(made.settings.processes)
        if limits := recycling.limits(made.settings):
            facts["replaced"] = f"after {limits}"
    if made.settings.log_format == "json":
        log.info("The worker starts.", extra=facts)
    else:
        click.echo(banner.render(facts), err=True)


def _serve(made: Worker, loop: Loop, tie: Tie, introduce: Introduce) -> None:
    """Run a worker to its end, and leave even if some function of a task does not."""
    failure: click.ClickException | None = None
    with asyncio.Runner(loop_factory=loop.factory) as runner:
        try:
            runner.run(_run(made, tie, introduce))
        except click.ClickException as error:
            failure = error
        # Before the runner closes: that waits for all tasks, and the threads of asyncio.to_thread.
        if behind := runner.run(leaving.stubborn_tasks()) + leaving.busy_threads():
            if failure is not None:
                failure.show()
            leaving.leave(0 if failure is None else failure.exit_code, behind)
    if failure is not None:
        raise failure


async def _run(made: Worker, tie: Tie, introduce: Introduce) -> None:
    signals = Signals(made)
    signals.install()
    tie.listen(Words(signals.drain, signals.stop, _giving_way(made)))
    broker = made.app.client.broker()
    ready = asyncio.ensure_future(_say_when_ready(made, tie))
    try:
        introduce(await startup.glance(broker))  # who sees it may send signals
        if tie.is_one_of_several:
            recycling.check(made.settings)
        await made.run()
    except asyncio.CancelledError:
        if not signals.has_cancelled:
            raise
    except Exception as error:
        raise failure_of(error, "worker", has_started=made.started.is_set()) from error
    finally:
        ready.cancel()
        await made.app.aclose()
    tie.tell(Left())


def _giving_way(made: Worker) -> Callable[[str], None]:
    """Return what to do, from any thread, when another worker has taken over."""
    loop = asyncio.get_running_loop()

    def give_way(reason: str) -> None:
        log.info("%s: %d jobs may end in peace.", reason, made.running)
        with suppress(RuntimeError):  # the loop is closed: the worker has left
            loop.call_soon_threadsafe(partial(made.drain, patient=True))

    return give_way


async def _say_when_ready(made: Worker, tie: Tie) -> None:
    await made.started.wait()
    log.info("Ready: worker %s takes jobs.", made.identity.name)
    tie.tell(Ready())
    if tie.is_one_of_several and recycling.limits(made.settings):
        tie.tell(Worn(await recycling.worn(made)))
