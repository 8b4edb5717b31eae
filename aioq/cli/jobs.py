"""`aioq enqueue`, `aioq call`, `aioq result`: make jobs by hand, and see what became of them."""

import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, TypeVar, cast

import click

from aioq.cli import discovery, flags
from aioq.cli.failures import Failure, TimedOut, from_server, no_server, note
from aioq.cli.references import meant
from aioq.cli.values import Duration, Json, Moment, dump, plain, read_arguments, show
from aioq.core.errors import (
    AioqError,
    ConfigurationError,
    JobNotFound,
    PayloadTooLarge,
    ResultExpired,
    Revoked,
    TaskFailed,
)
from aioq.core.options import CallOptions
from aioq.core.options import call as call_of
from aioq.core.record import JobInfo, JobState
from aioq.job import Job

Command = TypeVar("Command", bound=Callable[..., Any])
Answer = TypeVar("Answer")

_NUMBER = re.compile(r"-[\d.]")


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

    The arguments are those of `aioq enqueue`. Exit code 1: the job failed or was revoked; 5: it
    had not ended in time.
    """
    job, _ = _make(**given)
    try:
        value, error = _end_of(job, timeout)
    except KeyboardInterrupt:
        note(f"job {job.id} goes on; see it with: aioq result {job.id}")
        raise
    if error is not None:
        raise _failure(job, error, with_traceback=with_traceback)
    click.echo(show(value))


@click.command()
@click.argument("job_id")
@_connection_options
@click.option("--wait", is_flag=True, help="Wait for the end of the job.")
@click.option("--timeout", type=Duration(), help="Wait, and no longer than this.")
@click.option("--json", "as_json", is_flag=True, help="Print all that is known, as an object.")
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
    job = discovery.named_or_bare(**connection)[0].job(job_id)
    if wait or timeout is not None:
        _end_of(job, timeout)
    info = _ask(job, job.info_sync)
    value, error = _end_of(job, None) if info.state.is_final else (None, None)
    if as_json:
        click.echo(dump(_facts(info, value, error)))
    else:
        click.echo(info.state)
        if info.state is JobState.SUCCESS and error is None:
            click.echo(show(value))
    if error is not None:
        raise _failure(job, error, with_traceback=with_traceback)


def _make(
    *,
    task: str,
    words: tuple[str, ...],
    json_args: list[Any] | None,
    json_kwargs: dict[str, Any] | None,
    app_flag: str | None,
    name: str | None,
    url: str | None,
    **options: Any,  # noqa: ANN401 - those of CallOptions
) -> tuple[Job[Any], str]:
    """Make the job; return it with the name of its task."""
    given = cast("CallOptions", flags.given(options))
    with _as_usage():
        settled = call_of(given, where=task)
    args, kwargs = read_arguments(words)
    twice = sorted(kwargs.keys() & (json_kwargs or {}).keys())
    if twice:
        raise _usage(f"{twice[0]}= is given twice: by itself and in --kwargs")
    args, kwargs = [*(json_args or []), *args], {**(json_kwargs or {}), **kwargs}
    app, is_loaded = discovery.named_or_bare(app_flag=app_flag, name=name, url=url)
    if settled.eta is not None and settled.eta.tzinfo is None and app.settings.zone is None:
        example = f"--eta {settled.eta.isoformat()}Z"
        raise _usage(f"--eta says no timezone: write {example}, or set AIOQ_TIMEZONE")
    if is_loaded:
        known = app.tasks.get(task)
        if known is None:
            its = ", ".join(sorted(app.tasks)[:15])
            near = meant(task, app.tasks) or f"; its first tasks are {its}"
            raise _usage(f"the app has no task {task!r}{near}")
        with _as_usage():
            known.prepare(tuple(args), kwargs, settled)
    with from_server():
        _ = app.server
    with from_server(), _as_usage():
        job = app.send_task_sync(task, args, kwargs, **given)
    if not job.created:
        note(f"job {job.id} was known already; nothing was made")
    return job, task


def _end_of(job: Job[Any], timeout: float | None) -> tuple[Any, AioqError | None]:
    """Wait for the end of a job; return its value, or why there is none."""
    try:
        return _ask(job, lambda: job.result_sync(timeout)), None
    except (TaskFailed, Revoked, ResultExpired) as error:
        return None, error


def _ask(job: Job[Any], question: Callable[[], Answer]) -> Answer:
    try:
        return question()
    except (TaskFailed, Revoked, ResultExpired):
        raise
    except JobNotFound as error:
        raise Failure(str(error)) from error
    except TimeoutError as error:
        message = f"{error}; it goes on, see it with: aioq result {job.id}"
        raise TimedOut(message) from error
    except AioqError as error:
        raise no_server(error) from error


def _failure(job: Job[Any], error: AioqError, *, with_traceback: bool) -> Failure:
    if not isinstance(error, TaskFailed):
        return Failure(str(error))
    message = f"job {job.id} failed: {error}"
    if with_traceback and error.traceback:
        return Failure(f"{message}\n{error.traceback.rstrip()}")
    return Failure(message)


def _facts(info: JobInfo, value: object, error: AioqError | None) -> dict[str, Any]:
    """Return what is known of a job, as values for JSON."""
    facts: dict[str, Any] = {"schema": 1, **asdict(info)}
    facts["args"], facts["kwargs"] = plain(info.args), plain(info.kwargs)
    if info.progress is not None:
        facts["progress"]["meta"] = plain(info.progress.meta)
    if info.state is JobState.SUCCESS and error is None:
        facts["result"] = plain(value)
    return facts


@contextmanager
def _as_usage() -> Generator[None]:
    """Report a call that is wrong, so that nothing was sent."""
    try:
        yield
    except (TypeError, PayloadTooLarge, ConfigurationError) as error:
        raise _usage(str(error)) from error


def _usage(message: str) -> click.UsageError:
    return click.UsageError(message, click.get_current_context(silent=True))
