"""`aioq schedules`: what is due when, and what became of it; pause, resume, remove, run one now."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import datetime
from typing import Any, TypeVar

import click

from aioq.app import Aioq
from aioq.cli import namespace, table
from aioq.cli.failures import Failure, note
from aioq.cli.values import dump, plain
from aioq.core.errors import ScheduleNotFound
from aioq.core.recurring import Occurrence, ScheduleInfo

T = TypeVar("T")


@click.group(cls=namespace.Listing)
def schedules() -> None:
    """List, pause, resume, remove and run schedules. Alone, it lists them.

    They are those on the server, of whatever code. An app (-A, AIOQ_APP, pyproject.toml) says its
    name and its server; with --name none is imported.
    """


_names = click.argument("names", nargs=-1, required=True, metavar="SCHEDULE...")
_name = click.argument("name", metavar="SCHEDULE")


@schedules.command("list")
@namespace.options
def list_schedules(*, as_json: bool, **connection: Any) -> None:  # noqa: ANN401 - see namespace.options
    """List the schedules; moments are in the timezone of each.

    LAST is what became of the last occurrence; SOURCE is the code that declares it, if any does.
    """
    app = namespace.app(**connection)
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
@namespace.options
def next_occurrences(name: str, count: int, *, as_json: bool, **connection: Any) -> None:  # noqa: ANN401
    """Print the next occurrences of a schedule; if it is paused, those that there would be."""
    app = namespace.app(**connection)
    found = _ask(app, lambda: app.schedules.next(name, count))
    if as_json:
        click.echo(dump({"schema": 1, "name": name, "next": found}))
    else:
        for each in found:
            click.echo(_moment(each))


@schedules.command()
@_name
@namespace.options
def history(name: str, *, as_json: bool, **connection: Any) -> None:  # noqa: ANN401 - see namespace.options
    """Print what became of the last 100 occurrences of a schedule, the newest first.

    LATE is how long after its time a worker took care of it.
    """
    app = namespace.app(**connection)
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
@namespace.options
def pause(names: tuple[str, ...], *, as_json: bool, **connection: Any) -> None:  # noqa: ANN401
    """Let schedules rest until they are resumed; what would be due meanwhile is not missed."""
    app = namespace.app(**connection)
    _each(app, names, app.schedules.pause, "is paused", as_json=as_json)


@schedules.command()
@_names
@namespace.options
def resume(names: tuple[str, ...], *, as_json: bool, **connection: Any) -> None:  # noqa: ANN401
    """Let paused schedules go on, from now."""
    app = namespace.app(**connection)
    _each(app, names, app.schedules.resume, "goes on", as_json=as_json)


@schedules.command()
@_names
@namespace.options
def remove(names: tuple[str, ...], *, as_json: bool, **connection: Any) -> None:  # noqa: ANN401
    """Remove schedules and their history; the jobs they have made stay.

    One that is still in some app's code is back when that app's next worker starts.
    """
    app = namespace.app(**connection)
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
@namespace.options
def run_now(name: str, *, as_json: bool, **connection: Any) -> None:  # noqa: ANN401 - see namespace.options
    """Make one job of a schedule now, also while it is paused, and print its id."""
    app = namespace.app(**connection)
    job = _ask(app, lambda: app.schedules.run_now(name))
    click.echo(dump({"schema": 1, "name": name, "id": job.id}) if as_json else job.id)


def _ask(app: Aioq, question: Callable[[], Awaitable[T]]) -> T:
    """Ask the server; that a schedule is unknown is a failure."""

    async def asked() -> T:
        try:
            return await question()
        except ScheduleNotFound as error:
            message = f"{error} (of {app.name!r}; is it --name, or -A?)"
            raise Failure(message) from error

    return namespace.ask(app, asked)


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
