"""Every Python block of README.md and the documentation is run, or at least compiled."""

from pathlib import Path

import pytest

from .snippets import PAGES, ROOT, Program, Site, blocks_of


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).with_suffix("").as_posix()


@pytest.mark.parametrize("page", [page for page in PAGES if blocks_of(page)], ids=name_of)
async def test_the_blocks_of_a_page_run(page: Path, site: Site) -> None:
    """The blocks of a page, in order, are one program."""
    await Program(page, site).run()


def test_an_unknown_mark_is_an_error(tmp_path: Path) -> None:
    """A mark with a typing error does not silently take a block out."""
    page = tmp_path / "page.md"
    page.write_text("<!-- compield: why -->\n```python\n1\n```\n", "utf-8")

    with pytest.raises(ValueError, match="compield"):
        blocks_of(page)


@pytest.mark.parametrize(
    ("page", "complaint"),
    [
        ("```python\nprint(1)  # -> 2\n```\n", "'1'"),
        ("<!-- raises: TypeError -->\n```python\nlen([])\n```\n", "raised nothing"),
        ("<!-- later -->\n```python\nfrom aioq import Aioq\n```\n", "raised nothing"),
    ],
    ids=["output", "raises", "later"],
)
async def test_a_block_that_says_what_is_not_so_fails(
    page: str, complaint: str, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a mark or a comment promises is checked."""
    monkeypatch.setattr("tests.docs.snippets.ROOT", site.folder)
    file = site.folder / "page.md"
    file.write_text(page, "utf-8")

    with pytest.raises(AssertionError, match=complaint):
        await Program(file, site).run()
