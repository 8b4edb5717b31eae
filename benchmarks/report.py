"""The table of a session: on the terminal, as markdown and as JSON."""

import json
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.server import private_server
from benchmarks.session import AIOQ, BARE, Row, Samples, Session

_RESULTS = Path(__file__).parent / "results"


def surroundings() -> dict[str, str]:
    """Return when and on what the figures were taken."""
    with private_server() as server:
        version = server.version()
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": f"{os.cpu_count()} x {_cpu_model()}",
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "server": f"{version}, nothing written to disk",
    }


def budget_table(rows: Sequence[Row]) -> str:
    """Return the rows beside their budgets: medians, with the range of the rounds."""
    lines = [
        [
            one.budget.work,
            str(one.budget),
            *(show(one.samples.get(name)) for name in (BARE, AIOQ)),
            one.budget.unit,
            "-" if one.ratio is None else f"{one.ratio:.2f}",
            _verdict(one),
        ]
        for one in rows
    ]
    header = ["work", "budget", BARE, AIOQ, "unit", "aioq / bare", "verdict"]
    return table(header, lines)


def table(header: list[str], lines: list[list[str]]) -> str:
    """Return a markdown table whose columns are aligned for reading as text, too."""
    widths = [max(len(cell) for cell in column) for column in zip(header, *lines, strict=True)]
    ruled = [header, ["-" * width for width in widths], *lines]
    return "\n".join(
        "| "
        + " | ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in ruled
    )


def show(samples: Samples | None) -> str:
    """Return the median with its range; a dash where nothing was measured."""
    if samples is None:
        return "-"
    if len(samples.values) == 1:
        return _number(samples.median)
    return f"{_number(samples.median)} ({_number(samples.low)}-{_number(samples.high)})"


def markdown(title: str, about: dict[str, str], body: str, session: Session) -> str:
    """Return the whole report."""
    parts = [f"# {title}", "\n".join(f"- {name}: {value}" for name, value in about.items()), body]
    if session.rounds > 1:
        parts.append(
            f"Medians of {session.rounds} alternating rounds, with (min-max); a single figure is "
            "one round."
        )
    else:
        parts.append("One round.")
    if session.quick:
        parts.append(
            "A smoke test: the sizes are a fraction of those named, the figures no figures."
        )
    if session.losses:
        parts.append("\n".join(f"- JOBS LOST OR REPEATED: {loss}" for loss in session.losses))
    if session.failures:
        parts.append("\n".join(f"- failed: {failure}" for failure in session.failures))
    return "\n\n".join(parts) + "\n"


def write(name: str, text: str, about: dict[str, str], rows: Sequence[Row]) -> Path:
    """Write the report as markdown, and its figures as JSON; return where the former is."""
    _RESULTS.mkdir(exist_ok=True)
    figures = [
        {
            "work": one.budget.work,
            "budget": str(one.budget),
            "unit": one.budget.unit,
            "samples": {name: samples.values for name, samples in one.samples.items()},
            "ratio": one.ratio,
            "holds": one.holds,
        }
        for one in rows
    ]
    (_RESULTS / f"{name}.json").write_text(json.dumps({**about, "rows": figures}, indent=1) + "\n")
    path = _RESULTS / f"{name}.md"
    path.write_text(text)
    return path


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _verdict(row: Row) -> str:
    if AIOQ not in row.samples:
        return "not measured"
    return {None: "-", True: "pass", False: "FALLS SHORT"}[row.holds]


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
