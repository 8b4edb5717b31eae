"""What is public is documented, and what is documented exists."""

import re
import runpy
import shlex
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

import aioq
from aioq import testing, worker
from aioq.broker import keys
from aioq.cli.main import cli
from aioq.core import options, settings

from .snippets import PAGES, ROOT

_TABLES = runpy.run_path(str(ROOT / "docs/_ext/tables.py"))
expand: Callable[[str], str] = _TABLES["expand"]
GENERATED: dict[str, object] = _TABLES["GENERATED"]


def page(name: str) -> str:
    """Return a page of the reference as it is built."""
    return expand((ROOT / "docs/reference" / f"{name}.md").read_text("utf-8"))


def rows(text: str) -> dict[str, list[str]]:
    """Return the rows of all tables by their first cell."""
    lines = (re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line[:1] == "|")
    return {cells[0].strip(" `"): [cell.strip() for cell in cells] for cells in lines}


def test_every_public_name_is_documented() -> None:
    """Each name that can be imported has its entry."""
    public = [f"aioq.{name}" for name in aioq.__all__]
    public += [f"aioq.worker.{name}" for name in worker.__all__]
    public += [f"aioq.testing.{name}" for name in testing.__all__]

    documented = set(
        re.findall(r"^\.\. auto\w+:: (\S+)$", page("api") + page("errors"), re.MULTILINE)
    )

    assert documented == set(public)


def test_every_setting_is_documented() -> None:
    """Each field has its environment variable, its range, its default and its meaning."""
    documented = rows(page("settings"))

    for name in settings.SETTING_NAMES:
        assert documented[name][1] == f"`{settings.environment_name(name)}`"
        assert all(documented[name])


def test_every_option_is_documented() -> None:
    """Options of tasks and of calls."""
    documented = rows(page("task-options"))

    known = {*options.OPTION_NAMES, *options.CALL_NAMES, "bind"}
    assert known <= documented.keys()
    assert all(all(documented[name]) for name in known)


def test_every_key_is_documented() -> None:
    """Kinds of keys, and the fields of a record."""
    documented = rows(page("keys"))

    assert {kind.name for kind in keys.TABLE} | keys.RECORD_FIELDS.keys() <= documented.keys()


def test_every_command_is_documented() -> None:
    """Each command has a section, each of its options a meaning."""
    text = page("command-line")

    for name in cli.list_commands(click.Context(cli)):
        assert f"## aioq {name}\n" in text


def test_every_generated_part_is_shown() -> None:
    """No table is made for nobody, and no page asks for one that does not exist."""
    text = "".join(path.read_text("utf-8") for path in PAGES)

    assert set(re.findall(r"^<!-- generated: (.+) -->$", text, re.MULTILINE)) == set(GENERATED)


def commands() -> Iterator[tuple[Path, str]]:
    """Return the commands that the pages show."""
    for path in PAGES:
        for block in re.findall(r"```console\n(.*?)```", path.read_text("utf-8"), re.DOTALL):
            for line in re.findall(r"^\$ (.*)$", block, re.MULTILINE):
                words = shlex.split(line, comments=True)
                while words and re.match(r"\w+=", words[0]):
                    words = words[1:]
                if words[:1] == ["aioq"]:
                    yield path, shlex.join(words)


@pytest.mark.parametrize("command", sorted({command for _, command in commands()}))
def test_a_command_that_is_shown_can_be_given(command: str) -> None:
    """The command line's own parser takes it."""
    context = click.Context(cli)
    name, found, arguments = cli.resolve_command(context, shlex.split(command)[1:])

    assert found is not None
    found.make_context(name, arguments, parent=context)


def test_a_pyproject_that_is_shown_is_right() -> None:
    """Each `[tool.aioq]` holds fields and values that exist."""
    shown = [
        tomllib.loads(block)["tool"]["aioq"]
        for path in PAGES
        for block in re.findall(r"```toml\n(.*?)```", path.read_text("utf-8"), re.DOTALL)
    ]

    assert shown
    for table in shown:
        settings.parse(table, where="the page")
