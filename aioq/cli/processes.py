"""`aioq worker` with several processes, or with workers that are replaced now and then.

Whether that is asked for is known from the command line, the environment and pyproject.toml; only
where the app's own code asks for it the app has been loaded, and the process starts anew.
"""

import asyncio
import os
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

import click

from aioq.cli import flags
from aioq.cli.failures import NoServer, NotLoaded
from aioq.core.settings import Settings
from aioq.observe import logs
from aioq.worker import recycling
from aioq.worker.supervisor import Supervisor

FIELDS = ("processes", "max_jobs", "max_memory", "max_lifetime")
"""The settings that ask for a supervisor."""
_FATAL = {click.UsageError.exit_code, NotLoaded.exit_code, NoServer.exit_code}


def are_wanted(settings: Settings) -> bool:
    """Tell whether a supervisor is asked for."""
    return settings.processes > 1 or bool(recycling.limits(settings))


def supervise(words: list[str], settings: Settings, *, burst: bool) -> NoReturn:
    """Run the workers to their end.

    Args:
        words: the command line of each, after `aioq worker`.
        settings: those known without the app.
        burst: whether a worker leaves when there is nothing to do.
    """
    logs.configure(settings.log_level, settings.log_format, pid=True)
    sys.exit(asyncio.run(_run(words, burst=burst)))


async def _run(words: list[str], *, burst: bool) -> int:
    return await Supervisor(_command(words), burst=burst, fatal=_FATAL).run()


def start_anew(words: list[str], settings: Settings) -> NoReturn:
    """Become a supervisor as the app's own settings ask for: without having loaded the app."""
    asked = {name: getattr(settings, name) for name in FIELDS}
    command = _command([*words, *flags.written(flags.given(asked))])
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(command[0], command)  # noqa: S606 - this very command


def words(
    app: str | None,
    app_flag: str | None,
    chosen: Mapping[str, Any],
    *,
    burst: bool,
    no_scheduler: bool,
) -> list[str]:
    """Write the command line of `aioq worker` once more."""
    named = [app] if app else ["-A", app_flag] if app_flag else []
    marks = [*(["--burst"] if burst else []), *(["--no-scheduler"] if no_scheduler else [])]
    return [*named, *flags.written(chosen), *marks]


def _command(words: list[str]) -> list[str]:
    return [sys.executable, "-m", "aioq", "worker", *words]
