"""`aioq doctor`: what the server is, who works, what waits, and whether its data are sound."""

import asyncio
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import click

from aioq.app import Aioq
from aioq.broker import fsck, inspect, server
from aioq.broker.findings import Finding, Report
from aioq.broker.inspect import Presence
from aioq.broker.server import NOEVICTION, ServerFacts
from aioq.cli import discovery, flags, table
from aioq.cli.failures import Failure, from_server, note
from aioq.cli.values import dump
from aioq.core.errors import ConfigurationError

SHOWN = 100
"""Problems that are printed; the JSON has all of them."""


@dataclass(frozen=True)
class Picture:
    """Everything that was found."""

    name: str
    url: str
    facts: ServerFacts
    workers: list[Presence]
    report: Report
    problems: list[Finding]
    """Those of the server, then those of the data."""

    @property
    def left(self) -> int:
        """How many problems are not mended."""
        return sum(not problem.did for problem in self.problems)

    @property
    def is_healthy(self) -> bool:
        """Whether nothing is wrong any more."""
        return self.report.is_complete and not self.left

    @property
    def is_empty(self) -> bool:
        """Whether nobody has ever used this name, or all that it had has expired."""
        return not (self.report.jobs or self.report.held or self.workers or self.problems)

    def queues(self) -> list[tuple[str, int, int, int, int]]:
        """Return each queue: jobs that are ready, that limits hold and that run; live workers."""
        waiting, parked, held, served = (
            Counter[str](),
            Counter[str](),
            Counter[str](),
            Counter[str](),
        )
        for lane, count in self.report.parked.items():
            parked[_queue_of(lane)] += count
        for lane, count in self.report.waiting.items():
            waiting[_queue_of(lane)] += count
        for lane, count in self.report.held.items():
            held[_queue_of(lane)] += count
        for worker in self.workers:
            served.update(worker.queues)
        return [
            (name, waiting[name], parked[name], held[name], served[name])
            for name in sorted(waiting.keys() | parked.keys() | served.keys())
            if waiting[name] or parked[name] or held[name] or served[name]
        ]


@click.command()
@click.argument("app", required=False, metavar="[MODULE:APP]")
@click.option(
    "-A",
    "--app",
    "app_flag",
    metavar="MODULE:APP",
    callback=flags.or_before_the_command,
    help="The same.",
)
@flags.setting_options("url")
@click.option("--name", help="The namespace, where no app is given.  [default: aioq]")
@click.option("--repair", is_flag=True, help="Mend what is wrong; no job is thrown away.")
@click.option("--json", "as_json", is_flag=True, help="Print an object.")
def doctor(
    app: str | None,
    app_flag: str | None,
    url: str | None,
    name: str | None,
    *,
    repair: bool,
    as_json: bool,
) -> None:
    """Check the server and all that an app has there, while it is at work.

    An app is imported only where it is named here, and then for its name and its server; AIOQ_APP
    and pyproject.toml are not asked. Exit code 1: something is wrong, and is not mended; 4: the
    server cannot be reached.
    """
    examined = _app(app, app_flag, flags.given({"url": url}), name)
    with from_server():
        picture = asyncio.run(_look(examined, repair=repair))
    if as_json:
        click.echo(dump(_facts(picture)))
    else:
        _show(picture, repair=repair)
    if picture.is_empty and not app and not app_flag:
        note(f"nothing is stored under the name {examined.name!r}; is it --name, or MODULE:APP?")
    if not picture.is_healthy:
        raise Failure(_verdict(picture, repair=repair))


def _app(app: str | None, app_flag: str | None, chosen: dict[str, Any], name: str | None) -> Aioq:
    settings = flags.settle(chosen)
    if app or app_flag:
        if name:
            message = "an app and --name are both given: the app has its own name"
            raise click.UsageError(message)
        found = discovery.find_named(app, app_flag, settings)
        if found is not None:
            return discovery.configured(found, chosen)
    try:
        made = Aioq(name=name or "aioq")
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from error
    made.override(**chosen)
    return made


async def _look(app: Aioq, *, repair: bool) -> Picture:
    broker = app.client.broker()
    try:
        # One attempt: whoever asks a doctor wants to hear at once that the server is away.
        facts = await server.read(broker)
        report = await fsck.Examiner(broker, repair=repair).examine()
        workers = await inspect.workers(broker)
    finally:
        await app.aclose()
    problems = _of_server(facts, allow_eviction=app.settings.allow_eviction)
    url = app.client.topology.url
    return Picture(app.name, url, facts, workers, report, [*problems, *report.findings])


def _of_server(facts: ServerFacts, *, allow_eviction: bool) -> list[Finding]:
    """Return what is wrong with the server itself; nothing here can mend it."""
    found: list[Finding] = []
    if facts.is_too_old:
        found.append(Finding("server-old", facts.title, facts.redis_version or "", ""))
    if facts.policy not in {None, NOEVICTION} and not allow_eviction:
        found.append(Finding("server-evicts", facts.policy or "", "", ""))
    if facts.evicted and not allow_eviction:
        found.append(Finding("server-evicted", str(facts.evicted), "", ""))
    return found


def _show(picture: Picture, *, repair: bool) -> None:
    facts, report = picture.facts, picture.report
    overdue = f", {report.overdue} dead and not reaped yet" if report.overdue else ""
    lines = {
        "app": f"named {picture.name!r}",
        "server": f"{picture.url} ({facts.title})",
        "when full": facts.policy or "unknown",
        "persistence": facts.persistence,
        "memory": _memory(facts),
        "clients": "unknown" if facts.clients is None else str(facts.clients),
        "workers": f"{len(picture.workers)} alive{overdue}",
        "jobs": f"{_count(report.jobs, 'record')}, {report.delayed} delayed, "
        f"{sum(report.parked.values())} held, {_count(report.dead_letters, 'dead letter')}",
    }
    for title, text in lines.items():
        click.echo(f"{title:<12} {text}")
    queues = picture.queues()
    if queues:
        click.echo()
        rows = [(name, *map(str, counts)) for name, *counts in queues]
        table.echo(("QUEUE", "WAITING", "HELD", "RUNNING", "WORKERS"), rows)
    click.echo()
    for problem in picture.problems[:SHOWN]:
        is_told = repair or problem.code.startswith("server-")
        click.echo(f"- {problem.text}" + (f": {problem.remedy}" if is_told else ""))
    if len(picture.problems) > SHOWN:
        click.echo(f"- and {len(picture.problems) - SHOWN} more: see --json")
    if picture.is_healthy:
        mended = len(picture.problems)
        click.echo(f"Sound: {_count(mended, 'problem')} mended." if mended else "Sound.")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number:,} {what}s"


def _queue_of(lane: str) -> str:
    return lane.rpartition(":")[0]


def _memory(facts: ServerFacts) -> str:
    if facts.memory is None:
        return "unknown"
    limit = f" of {_megabytes(facts.memory_limit)}" if facts.memory_limit else ", without a limit"
    return _megabytes(facts.memory) + limit


def _megabytes(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB"


def _verdict(picture: Picture, *, repair: bool) -> str:
    if not picture.report.is_complete:
        return "a key is of the wrong type, so the rest was not checked; see the list"
    if repair:
        return f"{_count(picture.left, 'problem')} left"
    mendable = any(not each.code.startswith("server-") for each in picture.problems)
    how = "; mend them with: aioq doctor --repair" if mendable else ""
    return f"{_count(picture.left, 'problem')}{how}"


def _facts(picture: Picture) -> dict[str, Any]:
    report = picture.report
    return {
        "schema": 1,
        "name": picture.name,
        "server": picture.url,
        "facts": asdict(picture.facts) | {"persistence": picture.facts.persistence},
        "workers": picture.workers,
        "overdue_workers": report.overdue,
        "queues": [
            dict(zip(("name", "waiting", "held", "running", "workers"), row, strict=True))
            for row in picture.queues()
        ],
        "jobs": report.jobs,
        "delayed": report.delayed,
        "held": sum(report.parked.values()),
        "dead_letters": report.dead_letters,
        "is_complete": report.is_complete,
        "is_healthy": picture.is_healthy,
        "problems": [
            {
                "code": each.code,
                "name": each.name,
                "detail": each.detail,
                "text": each.text,
                "is_mended": bool(each.did),
                "remedy": each.remedy,
            }
            for each in picture.problems
        ],
    }
