"""Small files with a beginning: what the style law says, where a tool does not."""

import ast
from pathlib import Path

import pytest

import aioq

ROOT = Path(aioq.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
LONGEST = 400
FORBIDDEN = {"utils", "util", "helpers", "helper", "common", "types", "misc", "base"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_is_short_enough_to_be_read(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= LONGEST


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text("utf-8")))


def test_no_module_is_a_drawer_for_everything() -> None:
    assert not {path.stem for path in FILES} & FORBIDDEN


def test_the_package_is_typed() -> None:
    assert (ROOT / "py.typed").is_file()
