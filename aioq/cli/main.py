"""The list of commands, and the way in.

A command's module is imported when that command is called, and not for the list: `aioq --help`
needs neither redis nor the user's app.
"""

import os
import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import click

import aioq


class Entry(NamedTuple):
    """Where a command lives, and its line in the list."""

    module: str
    attribute: str
    help: str


SECTIONS = {
    "Run": {
        "worker": Entry("aioq.cli.worker", "worker", "Run the jobs of an app."),
        "scheduler": Entry(
            "aioq.cli.scheduler", "scheduler", "Fire the schedules of an app, run no jobs."
        ),
        "dev": Entry("aioq.cli.dev", "dev", "Run a server, and a worker that follows the code."),
        "server": Entry("aioq.cli.server", "server", "Run this project's embedded server."),
    },
    "Work": {
        "enqueue": Entry("aioq.cli.jobs", "enqueue", "Make a job and print its id."),
        "call": Entry("aioq.cli.jobs", "call", "Make a job, wait, and print its result."),
        "result": Entry("aioq.cli.jobs", "result", "Print the state and the result of a job."),
    },
    "Look": {
        "schedules": Entry("aioq.cli.schedules", "schedules", "List, pause or run schedules."),
        "check": Entry("aioq.cli.check", "check", "Tell whether server and workers are alive."),
        "queues": Entry("aioq.cli.queues", "queues", "List queues; pause and resume them."),
        "limits": Entry("aioq.cli.limits", "limits", "List rate and concurrency limits; set them."),
        "doctor": Entry("aioq.cli.doctor", "doctor", "Check the data on the server; mend them."),
    },
}
_ENTRIES = {name: entry for section in SECTIONS.values() for name, entry in section.items()}


class Commands(click.Group):
    """A group that imports a command only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names, in the order of the list."""
        return list(_ENTRIES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command."""
        entry = _ENTRIES.get(cmd_name)
        return None if entry is None else getattr(import_module(entry.module), entry.attribute)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is called, or say which one may have been meant."""
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as error:
            # click looks among the commands that it has imported: here, none.
            raise click.exceptions.NoSuchCommand(
                error.command_name, possibilities=_ENTRIES, ctx=ctx
            ) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list without importing a command."""
        widest = max(map(len, _ENTRIES))
        for title, entries in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(
                    [(name.ljust(widest), each.help) for name, each in entries.items()]
                )


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="AIOQ_URL names the server, AIOQ_APP the app; each setting has such a variable.",
)
@click.option("-A", "--app", metavar="MODULE:APP", help="The app; also after the command.")
@click.version_option(aioq.__version__, "-V", "--version", message="%(prog)s %(version)s")
def cli(app: str | None) -> None:
    """aioq: the task queue for asyncio, on Redis Streams."""


def main(args: list[str] | None = None) -> Any:  # noqa: ANN401 - never returns
    """Run the command line."""
    stranger = find_stranger(sys.path)
    if stranger is not None:
        sys.exit(
            f"Error: another package named 'aioq' is installed in {stranger.parent}\n"
            f"({stranger.name}). It has the same import name as aioq-tasks, and the two have\n"
            "overwritten each other's files. Mend it with:\n"
            "    pip uninstall -y aioq aioq-tasks && pip install aioq-tasks"
        )
    return cli.main(args, prog_name="aioq", color=False if os.environ.get("NO_COLOR") else None)


def find_stranger(path: Iterable[str]) -> Path | None:
    """Return what the unrelated distribution `aioq` has installed beside us, if anything.

    `importlib.metadata` finds distributions by the same names of folders; importing it would
    take longer than all the rest of `aioq --help`.
    """
    for folder in path:
        try:
            names = os.listdir(folder or ".")  # noqa: PTH208 - ten times as fast as Path.iterdir
        except OSError:
            continue
        for name in names:
            # Ours is `aioq_tasks-...`: a hyphen after the name comes before the version.
            if name.startswith("aioq-") and name.endswith((".dist-info", ".egg-info")):
                return Path(folder, name)
    return None
