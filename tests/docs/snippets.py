"""Read the Python blocks of a page, and run them as one program against a private server.

CONTRIBUTING.md describes the convention for those who write pages.
"""

import ast
import asyncio
import builtins
import contextlib
import importlib
import importlib.util
import io
import re
from collections.abc import Iterator
from inspect import CO_COROUTINE
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Literal, NamedTuple, cast

import aioq
from aioq import Aioq
from aioq.testing import running

Kind = Literal["run", "raises", "later", "compiled", "celery", "needs"]

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")],
    key=lambda page: page.relative_to(ROOT).as_posix(),
)

_BLOCK = re.compile(
    r"^(?P<indent> *)```python *\n(?P<code>.*?)^(?P=indent)``` *$", re.MULTILINE | re.DOTALL
)
_MARK = re.compile(r"<!-- *(?P<kind>[a-z]+)(?:: *(?P<argument>.+?))? *-->\s*\Z")
_FILE = re.compile(r"# (?P<path>[\w/]+\.py)\n")
_SAID = re.compile(r"# -> (.*)$", re.MULTILINE)

# What using a feature that does not exist yet raises.  A NameError would be a slip of the page.
_MISSING = (ImportError, AttributeError, TypeError, aioq.ConfigurationError)


class Block(NamedTuple):
    """One Python block."""

    page: Path
    line: int
    code: str
    kind: Kind
    argument: str

    @property
    def path(self) -> str:
        """The file that the block is; "" if it is none."""
        match = _FILE.match(self.code)
        return match["path"] if match else ""

    @property
    def output(self) -> list[str]:
        """What the block says that it prints."""
        return _SAID.findall(self.code)

    def compiled(self) -> CodeType:
        """Compile, with line numbers of the page."""
        source = "\n" * self.line + self.code
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        return compile(source, str(self.page.relative_to(ROOT)), "exec", flags, dont_inherit=True)


def blocks_of(page: Path) -> list[Block]:
    """Return the Python blocks of a page.

    Raises:
        ValueError: the comment before a block is none of ours.
    """
    text = page.read_text("utf-8")
    found: list[Block] = []
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        kind, argument = _marked(text[: match.start()], f"{page}:{line}")
        indent = match["indent"]
        code = "\n".join(each.removeprefix(indent) for each in match["code"].split("\n"))
        found.append(Block(page, line, code, kind, argument))
    return found


def _marked(before: str, where: str) -> tuple[Kind, str]:
    mark = _MARK.search(before)
    if mark is None:
        return "run", ""
    kind, argument = mark["kind"], mark["argument"] or ""
    if kind not in {"raises", "later", "compiled", "celery", "needs"}:
        message = f"{where}: <!-- {kind} --> says nothing about a block; see CONTRIBUTING.md"
        raise ValueError(message)
    if kind in {"raises", "compiled", "needs"} and not argument:
        message = f"{where}: <!-- {kind}: ... --> needs to say what or why"
        raise ValueError(message)
    return cast("Kind", kind), argument


class Site(NamedTuple):
    """Where the program of a page runs."""

    folder: Path
    """Its files are written here."""
    url: str
    """Its default server."""


class Program:
    """The blocks of one page, run in order in one module."""

    def __init__(self, page: Path, site: Site) -> None:
        self._blocks = blocks_of(page)
        self._folder, self._url = site
        self._module = ModuleType(page.stem.replace("-", "_").lower())
        self._modules = [self._module]

    async def run(self) -> None:
        """Run the blocks in order."""
        for block in self._blocks:
            try:
                await self._run(block)
            except BaseException as error:
                error.add_note(f"in the block at {block.page.relative_to(ROOT)}:{block.line}")
                raise

    async def _run(self, block: Block) -> None:
        """Run one block as its mark says."""
        if block.kind in {"compiled", "celery"} or not self._has_needs(block):
            block.compiled()
        elif block.kind == "raises":
            await self._run_raising(block, _exception(block.argument))
        elif block.kind == "later":
            await self._run_raising(block, _MISSING)
        elif block.path:
            self._import(block)
        else:
            await self._run_with_workers(block)

    @staticmethod
    def _has_needs(block: Block) -> bool:
        names = block.argument.split(", ") if block.kind == "needs" else []
        return all(importlib.util.find_spec(name) is not None for name in names)

    async def _run_raising(
        self, block: Block, expected: type[BaseException] | tuple[type[BaseException], ...]
    ) -> None:
        try:
            await self._run_with_workers(block)
        except expected:
            return
        message = f"{block.page.name}:{block.line} raised nothing; is its mark out of date?"
        raise AssertionError(message)

    def _import(self, block: Block) -> None:
        file = self._folder / block.path
        file.parent.mkdir(parents=True, exist_ok=True)
        for parent in file.relative_to(self._folder).parents:
            (self._folder / parent / "__init__.py").touch()
        file.write_text(block.code, "utf-8")
        name = block.path.removesuffix(".py").replace("/", ".")
        importlib.invalidate_caches()
        self._modules.append(importlib.import_module(name))

    async def _run_with_workers(self, block: Block) -> None:
        code = block.compiled()
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            async with contextlib.AsyncExitStack() as stack:
                for app in self._apps():
                    await stack.enter_async_context(running(app, url=self._url))
                await self._execute(code)
        printed = said.getvalue().splitlines()
        if block.output and printed != block.output:
            message = f"it printed {printed}, and says that it prints {block.output}"
            raise AssertionError(message)

    async def _execute(self, code: CodeType) -> None:
        namespace = vars(self._module)
        if code.co_flags & CO_COROUTINE:
            await eval(code, namespace)  # noqa: S307 - our own pages
        else:
            # As plain sync code: in a thread, where no event loop runs.
            await asyncio.to_thread(exec, code, namespace)

    def _apps(self) -> list[Aioq]:
        """Return every app that the page knows by now."""
        values: Iterator[Any] = (each for module in self._modules for each in vars(module).values())
        apps = {id(value): value for value in values if isinstance(value, Aioq)}
        return list(apps.values())


def _exception(name: str) -> type[BaseException]:
    return getattr(aioq, name, None) or getattr(builtins, name)
