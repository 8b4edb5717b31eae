"""The examples run, and print what the guides show."""

import asyncio
import sys
from asyncio.subprocess import PIPE

import pytest

from .snippets import ROOT

SHOWN_IN = {
    "batch_index": "batches",
    "durable_order": "durable-steps",
    "schedules": "scheduling",
    "rate_limits": "rate-limiting",
    "fair_tenants": "priorities-and-fairness",
    "unique_jobs": "unique-jobs",
    "stream_tokens": "streaming",
}


@pytest.mark.parametrize("name", sorted(SHOWN_IN))
async def test_an_example_prints_what_its_guide_shows(name: str) -> None:
    """Started as a reader would; its output stands in the guide, letter by letter."""
    example = ROOT / "examples" / f"{name}.py"
    process = await asyncio.create_subprocess_exec(
        sys.executable, example, stdout=PIPE, stderr=PIPE
    )
    printed, complaints = await process.communicate()

    assert process.returncode == 0, complaints.decode()
    guide = (ROOT / "docs/guides" / f"{SHOWN_IN[name]}.md").read_text("utf-8")
    assert f"$ python examples/{name}.py\n{printed.decode()}```\n" in guide


def test_every_example_is_tested() -> None:
    """Only the census is not: its figures are those of the machine; `make demo` runs it."""
    examples = {path.stem for path in (ROOT / "examples").glob("*.py")}
    assert examples == {*SHOWN_IN, "census"}
