"""`aioq enqueue`, `aioq call`, `aioq result`: make jobs by hand, and look at what became of them."""

import re
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar, cast

import click

from aioq.app import Aioq
from aioq.cli import discovery, flags
from aioq.cli.failures import Failure, TimedOut, from_server, note
from aioq.cli.references import meant
from aioq.cli.values import Duration, Json, Moment, dump, plain, read_arguments, show
from aioq.core.errors import (
    AioqError,
    BrokerUnavailable,
    JobNotFound,
    ResultExpired,
    Revoked,
    TaskFailed,
)
from aioq.core.record import JobInfo, JobState
from aioq.job import Job

Command = TypeVar("Command", bound=Callable[..., Any])

_NUMBER = re.compile(r"-[\d.]")
_AFTER_DASHES = "aioq words after --"


class WithWords(click.Command):
    """A command whose last arguments are values, among them negative numbers.

    click takes `-2` for an option; here what begins with a hyphen is an unknown option only
    where it is no number and stands before `--`.
    """

    ignore_unknown_options = True

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, and refuse unknown options."""
        after = len(args) - args.index("--") - 1 if "--" in args else 0
        rest = super().parse_args(ctx, args)
        words: tuple[str, ...] = ctx.params.get("words") or ()
        for word in (ctx.params.get("task") or "", *words[: len(words) - after]):
            if word.startswith("-") and not _NUMBER.match(word):
                options = [each for option in self.get_params(ctx) for each in option.opts]
                raise click.NoSuchOption(word.partition("=")[0], possibilities=options, ctx=ctx)
        return rest


def _connection_options(command: Command) -> Command:
    name = click.option("--name", help="The namespace, where no app is given.  [default: aioq]")
    return flags.app_option(flags.setting_options("url")(name(command)))


def _call_options(command: Command) -> Command:
    for option in (
        click.argument("task"),
        click.argument("words", nargs=-1, metavar="[ARG | KEY=VALUE]..."),
        click.option("--countdown", "--delay", type=Duration(), help="Not before: from now."),
        click.option("--eta", type=Moment(), help="Not before: a moment."),
        click.option("--expires", type=Duration(), help="Not started by then: revoked."),
        click.option("--queue", help="In place of the task's queue."),
        click.option("--priority", type=click.IntRange(0, 9), help="Higher first."),
        click.option("--job-id", help="While it is known, no second job is made."),
        click.option("--args", "json_args", type=Json(list), help="Before each ARG."),
        click.option("--kwargs", "json_kwargs", type=Json(dict), help="Beside each KEY=VALUE."),
    )[::-1]:
        command = option(command)
    return _connection_options(command)


@click.command(cls=WithWords)
@_call_options
@click.option("--json", "as_json", is_flag=True, help="Print an object in place of the id.")
def enqueue(*, as_json: bool, **given: Any) -> None:  # noqa: ANN401 - see _call_options
    """Make a job of TASK and print its id.

    Each ARG and VALUE is read as JSON where it is some, else as text: 4, '"4"', '[1, 2]', true.

    With an app (-A, AIOQ_APP, pyproject.toml) the task must be known and the arguments must fit;
    without one the job is sent by name.
    """
    job, task = _make(**given)
    if as_json:
        click.echo(dump({"schema": 1, "id": job.id, "task": task, "created": job.created}))
    else:
        click.echo(job.id)


@click.command(cls=WithWords)
@_call_options
@click.option("--timeout", type=Duration(), help="Wait no longer; the job goes on.")
@click.option("--traceback", "with_traceback", is_flag=True, help="Print the task's traceback.")
def call(*, timeout: float | None, with_traceback: bool, **given: Any) -> None:  # noqa: ANN401
    """Make a job of TASK, wait for its end, and print its result as JSON.

    The arguments are those of `aioq enqueue`.
    """
    job, _ = _make(**given)
    click.echo(show(_wait(job, timeout, with_traceback=with_traceback)))


@click.command()
@click.argument("job_id")
@_connection_options
@click.option("--wait", is_flag=True, help="Wait for the end of the job.")
@click.option("--timeout", type=Duration(), help="Wait, and no longer than this.")
@click.option("--json", "as_json", is_flag=True, help="Print all that is known as an object.")
@click.option("--traceback", "with_traceback", is_flag=True, help="Print the task's traceback.")
def result(
    job_id: str,
    *,
    wait: bool,
    timeout: float | None,
    as_json: bool,
    with_traceback: bool,
    **connection: Any,  # noqa: ANN401 - see _connection_options
) -> None:
    """Print the state of a job and, on a second line, its result.

    Exit code 1: the job failed, was revoked, or is unknown; 5: it had not ended in time.
    """
    job = _app(**connection).job(job_id)
    if wait or timeout is not None:
        _ask(lambda: job.result_sync(timeout), ignore=(TaskFailed, Revoked, ResultExpired))
    info = _ask(job.info_sync)
    value = _ask(job.result_sync, ignore=(ResultExpired,)) if _succeeded(info) else None
    if as_json:
        click.echo(dump(_facts(info, value)))
    else:
        click.echo(info.state)
        if _succeeded(info):
            click.echo(show(value))
    if info.state in {JobState.FAILURE, JobState.REVOKED}:
        _wait(job, 0, with_traceback=with_traceback)


def _app(*, app_flag: str | None, name: str | None, url: str | None) -> Aioq:
    """Return the app that is named somewhere, else one that knows the server only."""
    chosen = flags.given({"url": url})
    settings = flags.settle(chosen)
    if app_flag and name:
        message = "-A and --name are both given: the app has a name"
        raise click.UsageError(message)
    found = None if name else discovery.find_named(None, app_flag, settings)
    app = Aioq(name=name or "aioq") if found is None else found.app
    if found is not None:
        ...
    app.override(**chosen)
    return app
