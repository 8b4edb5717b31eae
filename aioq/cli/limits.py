"""`aioq limits`: what holds jobs back; change a limit while workers run, and change it back."""

from dataclasses import asdict
from typing import Any

import click

from aioq.app import Aioq
from aioq.cli import namespace, table
from aioq.cli.failures import note
from aioq.cli.values import dump
from aioq.core.bucket import Concurrency, TokenBucket, read_rate
from aioq.core.errors import ConfigurationError
from aioq.limits import LimitInfo

COLUMNS = ("LIMIT", "ALLOWS", "NOW", "WAITING", "SOURCE")


@click.group(cls=namespace.Listing)
def limits() -> None:
    """List rate limits and concurrency limits; set and reset them. Alone, it lists them.

    They are those on the server, of whatever code. An app (-A, AIOQ_APP, pyproject.toml) says its
    name and its server; with --name none is imported.
    """


@limits.command("list")
@click.option("--key", default="", help="Whose tokens and slots, of a limit that has keys.")
@namespace.options
def list_limits(key: str, *, as_json: bool, **connection: Any) -> None:  # noqa: ANN401
    """List the limits.

    NOW is how many tokens lie ready, or how many slots are taken; WAITING counts jobs.
    """
    app = namespace.app(**connection)

    async def listed() -> list[LimitInfo]:
        return await app.limits.list(key=key)

    found = namespace.ask(app, listed)
    if as_json:
        facts = {"schema": 1, "name": app.name, "limits": [asdict(each) for each in found]}
        click.echo(dump(facts))
    elif found:
        table.echo(COLUMNS, [_row(each) for each in found])
    else:
        note(f"no worker of {app.name!r} has declared a limit yet; is it --name, or -A?")


@limits.command("set")
@click.argument("name", metavar="LIMIT")
@click.argument("rate", required=False)
@click.option("--burst", type=click.IntRange(1), help="Starts at once.  [default: one period's]")
@click.option("--concurrency", type=click.IntRange(1), help="In place of RATE: jobs at once.")
@namespace.options
def set_limit(
    name: str,
    rate: str | None,
    *,
    burst: int | None,
    concurrency: int | None,
    as_json: bool,
    **connection: Any,  # noqa: ANN401 - see namespace.options
) -> None:
    """Set a limit for all workers, until it is reset: RATE such as 10/m, or --concurrency.

    It holds at once, also for the jobs that wait already, and outlives deploys.
    """
    limit = _limit(rate, burst=burst, concurrency=concurrency)
    app = namespace.app(**connection)
    namespace.ask(app, lambda: app.limits.set(name, limit))
    _say(app, name, "is set", as_json=as_json)


@limits.command()
@click.argument("name", metavar="LIMIT")
@namespace.options
def reset(name: str, *, as_json: bool, **connection: Any) -> None:  # noqa: ANN401
    """Go back to what the code declares."""
    app = namespace.app(**connection)
    namespace.ask(app, lambda: app.limits.reset(name))
    _say(app, name, "is what the code declares", as_json=as_json)


def _limit(
    rate: str | None, *, burst: int | None, concurrency: int | None
) -> TokenBucket | Concurrency:
    if (rate is None) == (concurrency is None) or (burst and concurrency):
        message = "give either a RATE such as 10/m, maybe with --burst, or --concurrency"
        raise click.UsageError(message)
    if concurrency is not None:
        return Concurrency(concurrency)
    try:
        found = read_rate(rate, where="limits set")
        if found is not None and burst is not None:
            found = TokenBucket(found.rate, per=found.per, burst=burst)
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from error
    if found is None:
        message = f"{rate!r} is no limit; `aioq queues pause` stops a queue altogether"
        raise click.UsageError(message)
    return found


def _say(app: Aioq, name: str, what: str, *, as_json: bool) -> None:
    if as_json:
        click.echo(dump({"schema": 1, "name": app.name, "limit": name}))
    else:
        click.echo(f"{name} {what}")


def _row(info: LimitInfo) -> tuple[str, ...]:
    if info.kind == "rate":
        allows = f"{info.rate:g} per {info.per:g} s, burst {info.burst}"
        now = f"{info.available} ready"
    else:
        allows, now = f"{info.max_concurrency} at once", f"{info.held} taken"
    return info.name, allows, now, str(info.waiting), info.source
