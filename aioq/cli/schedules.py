"""`aioq schedules`: what is due when, and what became of it; pause, resume, remove, run one now."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import datetime
from typing import Any, TypeVar

import click

from aioq.app import Aioq
from aioq.cli import discovery, flags, table
from aioq.cli.failures import Failure, from_server, note
from aioq.cli.values import dump, plain
from aioq.core.errors import ScheduleNotFound
from aioq.core.recurring import Occurrence, ScheduleInfo

Command = TypeVar("Command", bound=Callable[..., Any])
T = TypeVar("T")


@click.group()
def schedules() -> None:
    """List, pause, resume, remove and run schedules.

    They are those on the server, of whatever code. An app (-A, AIOQ_APP, pyproject.toml) says its
    name and its server; with --name none is imported.
    """


def _common(command: Command) -> Command:
    for option in (
        flags.app_option,
        flags.setting_options("url"),
        click.option("--name", "namespace", help="Where no app is given.  [default: aioq]"),
        click.option("--json", "as_json", is_flag=True, help="Print an object."),
    )[::-1]:
        command = option(command)
    return command


_names = click.argument("names", nargs=-1, required=True, metavar="SCHEDULE...")
_name = click.argument("name", metavar="SCHEDULE")


@schedules.command("list")
@_common
def list_schedules(*, as_json: bool, **connection: Any) -> None:  # noqa: ANN401 - see _common
    """List the schedules; moments are in the timezone of each.

    LAST is what became of the last occurrence; SOURCE is the code that declares it, if any does.
    """
    app = _app(**connection)
    found = _ask(app, lambda: _listed(app))
    if as_json:
        facts = [{**asdict(each), **_plain_arguments(each)} for each in found]
        click.echo(dump({"schema": 1, "name": app.name, "schedules": facts}))
    elif found:
        columns = ("NAME", "TASK", "SCHEDULE", "NEXT", "LAST", "SOURCE")
        table.echo(columns, [_row(each) for each in found])
    else:
        note(
            f"{app.name!r} has no schedules; those in code come with the first worker, or "
            "`aioq scheduler`; is it --name, or -A?"
        )


@schedules.command("next")
@_name
@click.option("-n", "count", default=5, show_default=True, type=click.IntRange(1, 1000))
@_common
def next_occurrences(name: str, count: int, *, as_json: bool, **connection: Any) -> None:  # noqa: ANN401
    """Print the next occurrences of a schedule; if it is paused, those that there would be."""
    app = _app(**connection)
    found = _ask(app, lambda: app.schedules.next(name, count))
    if as_json:
        click.echo(dump({"schema": 1, "name": name, "next": found}))
    else:
        for each in found:
            click.echo(_moment(each))


@schedules.command()
@_name
@_common
def history(name: str, *, as_json: bool, **connection: Any) -> None:  # noqa: ANN401 - see _common
    """Print what became of the last 100 occurrences of a schedule, the newest first.

    LATE is how long after its time a worker took care of it.
    """
    app = _app(**connection)
    found = _ask(app, lambda: app.schedules.history(name))
    if as_json:
        facts = [asdict(each) for each in found]
        click.echo(dump({"schema": 1, "name": name, "history": facts}))
    elif found:
        rows = [_line(each) for each in found]
        table.echo(("OCCURRENCE", "OUTCOME", "LATE", "JOB"), rows)
    else:
        note(f"the schedule {name!r} has not been due yet")


@schedules.command()
@_names
@_common
def pause(names: tuple[str, ...], *, as_json: bool, **connection: Any) -> None:  # noqa: ANN401
    """Let schedules rest until they are resumed; what would be due meanwhile is not missed."""
    app = _app(**connection)
    _each(app, names, app.schedules.pause, "is paused", as_json=as_json)


@schedules.command()
@_names
@_common
def resume(names: tuple[str, ...], *, as_json: bool, **connection: Any) -> None:  # noqa: ANN401
    """Let paused schedules go on, from now."""
    app = _app(**connection)
    _each(app, names, app.schedules.resume, "goes on", as_json=as_json)


@schedules.command()
@_names
@_common
def remove(names: tuple[str, ...], *, as_json: bool, **connection: Any) -> None:  # noqa: ANN401
    """Remove schedules and their history; the jobs they have made stay.

    One that is still in some app's code is back when that app's next worker starts.
    """
    app = _app(**connection)
    sources = {each.name: each.source for each in _ask(app, lambda: _listed(app))}
    _each(app, names, app.schedules.remove, "is removed", as_json=as_json)
    for name in names:
        if source := sources.get(name):
            note(
                f"{name} was brought by the code of {source}: it is back when a worker of that "
                "starts, unless it has been taken out there"
            )


@schedules.command("run-now")
@_name
@_common
def run_now(name: str, *, as_json: bool, **connection: Any) -> None:  # noqa: ANN401 - see _common
    """Make one job of a schedule now, also while it is paused, and print its id."""
    app = _app(**connection)
    job = _ask(app, lambda: app.schedules.run_now(name))
    click.echo(dump({"schema": 1, "name": name, "id": job.id}) if as_json else job.id)


def _app(*, namespace: str | None, **connection: Any) -> Aioq:  # noqa: ANN401 - see _common
    return discovery.named_or_bare(name=namespace, **connection)[0]


def _ask(app: Aioq, question: Callable[[], Awaitable[T]]) -> T:
    """Ask the server in a loop of its own."""

    async def ask() -> T:
        try:
            return await question()
        finally:
            await app.aclose()

    with from_server():
        try:
            return asyncio.run(ask())
        except ScheduleNotFound as error:
            message = f"{error} (of {app.name!r}; is it --name, or -A?)"
            raise Failure(message) from error


def _each(
    app: Aioq,
    names: tuple[str, ...],
    change: Callable[[str], Awaitable[None]],
    done: str,
    *,
    as_json: bool,
) -> None:
    """Change schedules one after the other; the first that is unknown ends it."""
    for name in dict.fromkeys(names):
        _ask(app, lambda name=name: change(name))
        if not as_json:
            click.echo(f"{name} {done}")
    if as_json:
        click.echo(dump({"schema": 1, "name": app.name, "schedules": list(dict.fromkeys(names))}))


async def _listed(app: Aioq) -> list[ScheduleInfo]:
    return await app.schedules.list()


def _plain_arguments(info: ScheduleInfo) -> dict[str, object]:
    return {"args": plain(info.args), "kwargs": plain(info.kwargs)}


def _row(info: ScheduleInfo) -> tuple[str, ...]:
    return (
        info.name,
        info.task,
        info.schedule,
        "paused" if info.next_at is None else _moment(info.next_at),
        "-" if info.last is None else f"{info.last.outcome} {_moment(info.last.at)}",
        info.source or "run time",
    )


def _line(each: Occurrence) -> tuple[str, ...]:
    until = "" if each.until is None else f" until {_moment(each.until)}"
    late = (each.noted_at - each.at).total_seconds()
    return (_moment(each.at), f"{each.outcome}{until}", f"{late:.3f} s", each.job_id or "-")


def _moment(moment: datetime) -> str:
    fraction = f".{moment.microsecond // 1000:03d}" if moment.microsecond else ""
    return f"{moment:%Y-%m-%d %H:%M:%S}{fraction} {moment:%Z}"
