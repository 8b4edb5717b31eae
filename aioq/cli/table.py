"""Rows for people: a rich table on a terminal that has rich, else aligned columns."""

import sys
from collections.abc import Sequence
from importlib.util import find_spec

import click

from aioq.cli.failures import colour


def echo(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their headings on stdout."""
    if sys.stdout.isatty() and colour() is not False and find_spec("rich") is not None:
        _rich(columns, rows)
    else:
        click.echo(aligned(columns, rows))


def aligned(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return the rows with columns as wide as their widest cell."""
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (columns, *rows)
    )


def _rich(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console  # noqa: PLC0415 - an extra
    from rich.table import Table  # noqa: PLC0415 - an extra

    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*row)
    Console(highlight=False).print(table)
