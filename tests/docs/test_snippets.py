"""Every Python block of README.md and the documentation is run, or at least compiled."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aioq.testing import embedded_server

from .snippets import PAGES, ROOT, Program, blocks_of

WITH_BLOCKS = [page for page in PAGES if blocks_of(page)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty project, from which a page's files are imported."""
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        file = getattr(sys.modules[name], "__file__", None)
        if file is not None and Path(file).is_relative_to(tmp_path):
            del sys.modules[name]


@pytest.mark.parametrize(
    "page", WITH_BLOCKS, ids=lambda page: page.relative_to(ROOT).with_suffix("").as_posix()
)
async def test_the_blocks_of_a_page_run(
    page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The blocks of a page, in order, are one program."""
    async with embedded_server() as server:
        monkeypatch.setenv("AIOQ_URL", server.url)
        program = Program(page, folder, server.url)
        for block in blocks_of(page):
            try:
                await program.run(block)
            except BaseException as error:
                error.add_note(f"in the block at {page.relative_to(ROOT)}:{block.line}")
                raise
