"""Find the line of the user's code that an exception is about."""

import linecache
import os
import sysconfig
import traceback
from pathlib import Path

from aioq.cli.failures import debugging

_OURS = str(Path(__file__).parents[1]) + os.sep
_INSTALLED = tuple(
    sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")
)


def explain(error: BaseException) -> str:
    """Say in a few lines which line raised what; the user's innermost one."""
    kind = type(error).__name__
    if isinstance(error, SyntaxError) and error.filename:
        place = _place(error.filename, error.lineno or 1, error.text)
        return f"{place}\n  {kind}: {error.msg}{_hint()}"
    text = f"  {kind}: {error}{_hint()}"
    frame = _innermost(error)
    return f"{_place(frame.filename, frame.lineno or 1, None)}\n{text}" if frame else text


def _innermost(error: BaseException) -> traceback.FrameSummary | None:
    """Return the innermost frame of the user's, else the innermost of anybody's."""
    frames = traceback.extract_tb(error.__traceback__)
    others = [each for each in frames if not _is_machinery(each.filename)]
    users = [each for each in others if not each.filename.startswith(_INSTALLED)]
    return next(reversed(users or others), None)


def _is_machinery(filename: str) -> bool:
    return filename.startswith((_OURS, "<frozen ")) or "importlib" in Path(filename).parts


def _place(filename: str, line: int, source: str | None) -> str:
    code = (source or linecache.getline(filename, line)).strip()
    shown = f'  File "{_short(filename)}", line {line}'
    return f"{shown}\n    {code}" if code else shown


def _short(filename: str) -> str:
    """Return a path as seen from the current folder, where it lies inside."""
    here = str(Path.cwd()) + os.sep
    return filename.removeprefix(here)


def _hint() -> str:
    return "" if debugging() else "\n  (AIOQ_DEBUG=1 shows the whole traceback.)"
