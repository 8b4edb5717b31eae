"""`aioq server`: hold the embedded server in the foreground."""

import signal
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from aioq.cli import flags
from aioq.cli.failures import Failure, NoServer
from aioq.core.errors import BrokerUnavailable, ConfigurationError
from aioq.embedded import ForegroundServer, find_project


@click.command()
@click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the data lie.  [default: .aioq in the folder of the nearest pyproject.toml]",
)
@click.option(
    "--port", type=click.IntRange(1, 65535), help="Listen on this port of 127.0.0.1 as well."
)
@click.pass_context
def server(ctx: click.Context, directory: Path | None, port: int | None) -> None:
    """Run this project's embedded server until Ctrl-C.

    Its URL is printed on stdout. Without --dir it is the server that the processes of this
    project find by themselves where no URL is given; it stops when the last of them is gone.
    """
    flags.refuse_app(ctx)
    signal.signal(signal.SIGTERM, _interrupt)
    held = ForegroundServer(directory or find_project(Path.cwd()) / ".aioq", port=port)
    try:
        with held:
            _introduce(held, is_project=directory is None)
            held.wait()
    except ConfigurationError as error:  # no binary, a port that is taken, a folder it cannot use
        raise Failure(str(error)) from error
    except BrokerUnavailable as error:  # it does not answer, or has ended by itself
        raise NoServer(str(error)) from error
    except KeyboardInterrupt:
        click.echo("aioq: the server stops when nobody else uses it", err=True)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    raise KeyboardInterrupt


def _introduce(held: ForegroundServer, *, is_project: bool) -> None:
    click.echo(held.url)
    did = "started the" if held.started else "joined the running"
    lines = [f"aioq: {did} server, data in {held.directory}; Ctrl-C stops it"]
    if is_project:
        lines.append("  The processes of this project find it where no URL is given.")
    lines.append(f"  Others: export AIOQ_URL={held.url}")
    click.echo("\n".join(lines), err=True)
