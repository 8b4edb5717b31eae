"""`aioq worker`: run the jobs of an app in this process."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import click

from aioq.broker.resp import ReplyError
from aioq.broker.weather import Weather
from aioq.cli import discovery, flags, leaving
from aioq.cli.blame import explain
from aioq.cli.failures import Failure, NotLoaded, debugging, from_server, no_server, note
from aioq.cli.tie import Tie
from aioq.core.errors import BrokerUnavailable, ConfigurationError
from aioq.observe import logs
from aioq.worker import Worker, banner
from aioq.worker.signals import Signals

log: logging.Logger = logging.getLogger("aioq.worker")


class Loop(NamedTuple):
    """The event loop that runs the worker."""

    name: str
    factory: Callable[[], asyncio.AbstractEventLoop] | None


def _one_process(
    ctx: click.Context,
    parameter: click.Parameter,
    value: int,
) -> int:
    if value > 1:
        message = (
            f"--processes {value} comes in a later release: this one runs one process; start "
            f"the command {value} times"
        )
        raise click.BadParameter(message, ctx, parameter)
    return value


@click.command(
    epilog="Every other setting has its environment variable: AIOQ_LEASE, AIOQ_GRACE, and so on."
)
@click.argument("app", required=False, metavar="[MODULE:APP]")
@flags.app_option
@flags.setting_options("url", "concurrency", "queues", "log_level", "log_format")
@click.option("--burst", is_flag=True, help="Leave when nothing is ready or running.")
@click.option(
    "--processes",
    type=click.IntRange(1),
    default=1,
    callback=_one_process,
    help="1 in this release.",
)
def worker(
    app: str | None,
    app_flag: str | None,
    processes: int,  # noqa: ARG001 - 1
    *,
    burst: bool,
    **given: Any,  # noqa: ANN401 - values of settings
) -> None:
    """Run the jobs of an app.

    The app is MODULE:APP, else -A, AIOQ_APP or [tool.aioq] app in pyproject.toml; else it is
    looked for in tasks.py, app.py, main.py, app/tasks.py and src/*/tasks.py.

    SIGTERM and SIGINT drain: no more jobs are taken, those that run may end. A second signal
    gives them back at once, a third exits. SIGUSR1 writes all stacks to stderr.
    """
    tie = Tie.join()
    chosen = flags.given(given)
    settings = flags.settle(chosen)
    found = discovery.find(app, app_flag, settings, say=_quiet if tie.is_restart else note)
    made = Worker(discovery.configured(found, chosen), burst=burst)
    settings = made.settings
    is_flag = not chosen.keys().isdisjoint({"log_level", "log_format"})
    logs.configure(settings.log_level, settings.log_format, force=is_flag)
    with from_server():
        _ = found.app.server
    tie.tell(found.app)
    loop = _best_loop()

    def introduce() -> None:
        if not tie.is_restart:
            _introduce(made, found, loop)

    _serve(made, loop, tie, introduce)


def _quiet(message: str) -> None:
    """Say nothing: it has been said before the restart."""


def _introduce(made: Worker, found: discovery.Found, loop: Loop) -> None:
    facts = banner.facts(made, app=found.reference.name, found=found.how, loop=loop.name)
    if made.settings.log_format == "json":
        log.info("The worker starts.", extra=facts)
    else:
        click.echo(banner.render(facts), err=True)


def _best_loop() -> Loop:
    try:
        import uvloop  # noqa: PLC0415 - an extra
    except ImportError:
        return Loop("asyncio", None)
    return Loop("uvloop", uvloop.new_event_loop)


def _serve(made: Worker, loop: Loop, tie: Tie, introduce: Callable[[], None]) -> None:
    """Run a worker to its end, and leave even if threads are inside a task's function."""
    failure: click.ClickException | None = None
    with asyncio.Runner(loop_factory=loop.factory) as runner:
        try:
            runner.run(_run(made, tie, introduce))
        except click.ClickException as error:
            failure = error
        # Before the runner closes: that waits for the threads of asyncio.to_thread.
        if threads := leaving.busy_threads():
            if failure is not None:
                failure.show()
            leaving.leave(0 if failure is None else failure.exit_code, threads)
    if failure is not None:
        raise failure


async def _run(made: Worker, tie: Tie, introduce: Callable[[], None]) -> None:
    signals = Signals(made)
    signals.install()
    tie.listen(signals.drain, signals.stop)
    introduce()  # who sees it may send signals
    ready = asyncio.ensure_future(_say_when_ready(made))
    try:
        await made.run()
    except asyncio.CancelledError:
        if not signals.has_cancelled:
            raise
    except Exception as error:
        raise _failure(_only(error), made) from error
    finally:
        ready.cancel()
        await made.app.aclose()


async def _say_when_ready(made: Worker) -> None:
    await made.started.wait()
    log.info("Ready: worker %s takes jobs.", made.identity.name)


def _failure(error: Exception, made: Worker) -> click.ClickException:
    """Return how to end for an error that ended the worker."""
    if isinstance(error, (BrokerUnavailable, Weather, ReplyError)):
        return no_server(error)
    if not made.started.is_set():  # the lifespan, or a task that cannot be run as declared
        if isinstance(error, ConfigurationError):
            return NotLoaded(str(error))
        return NotLoaded(f"the app could not be started:\n{explain(error)}")
    if not debugging():
        log.critical("The worker ends because of an error.", exc_info=error)
    return Failure(f"the worker ended because of {error!r}")


def _only(error: Exception) -> Exception:
    """Return the first error of a group, such as those of task groups; else the error itself."""
    while isinstance(error, ExceptionGroup):
        error = cast("ExceptionGroup[Exception]", error).exceptions[0]
    return error
