"""From `module:app`, in any of its forms, to the app.

Whatever goes wrong here is the user's to mend, so each error says what was looked for, where,
and what is there instead.
"""

import difflib
import functools
import importlib
import inspect
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import click

from aioq.app import Aioq
from aioq.cli.blame import explain
from aioq.cli.failures import NotLoaded

USUAL_NAMES = ("app", "aioq", "queue", "celery_app")
"""Where an app is looked for in a module of which no attribute is named."""
_MODULE = re.compile(r"[^\W\d][\w-]*(\.[^\W\d][\w-]*)*")
_ATTRIBUTE = re.compile(r"([^\W\d]\w*(\.[^\W\d]\w*)*)?")


class NoAppError(NotLoaded):
    """The module is there and has no app."""


class Reference(NamedTuple):
    """What the text names."""

    text: str
    module: str
    attribute: str
    """Dotted; empty where it is to be found."""
    file: Path | None = None
    """Given in place of the module."""
    root: Path | None = None
    """The folder from which the module of that file is imported."""

    @property
    def name(self) -> str:
        """The reference in its usual form."""
        return f"{self.module}:{self.attribute}"


def parse(text: str, base: Path) -> Reference:
    """Read the text; a path in it starts at `base`.

    Raises:
        click.UsageError: it has no known form.
    """
    where, _, attribute = text.rpartition(":") if ":" in text else (text, "", "")
    attribute = attribute.removesuffix("()")
    is_file = where.endswith(".py") or "/" in where
    if not _ATTRIBUTE.fullmatch(attribute) or not (is_file or _MODULE.fullmatch(where)):
        message = (
            f"{text!r} names no app: write module:attribute, such as shop.tasks:app, or "
            "path/to/file.py:app"
        )
        raise click.UsageError(message)
    if not is_file:
        return Reference(text, where, attribute)
    file = (base / where).resolve()
    root = _root_of(file, base.resolve())
    parts = file.relative_to(root).with_suffix("").parts
    module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return Reference(text, module, attribute, file, root)


def load(reference: Reference) -> tuple[Reference, Aioq]:
    """Import the app; the reference comes back with its attribute.

    Raises:
        NotLoaded: saying why.
    """
    if reference.file is not None:
        _require_file(reference.file)
        add_to_path(reference.root or reference.file.parent)
    module = _import(reference)
    _require_same_file(module, reference.file)
    if reference.attribute:
        return reference, _named(module, reference)
    attribute, app = _only(module, reference)
    return reference._replace(attribute=attribute), app


def load_tasks(app: Aioq, reference: Reference) -> None:
    """Import the modules that the app includes.

    Raises:
        NotLoaded: saying why.
    """
    try:
        app.load()
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if any(_is_or_contains(missing, name) for name in app.included):
            message = f"{reference.text} includes modules, and there is no module {missing!r}"
            raise NotLoaded(message) from error
        raise raised(reference, error) from error
    except (Exception, SystemExit) as error:
        raise raised(reference, error) from error


def raised(reference: Reference, error: BaseException) -> NotLoaded:
    """Return the failure for what the user's code has raised."""
    return NotLoaded(f"{reference.text} cannot be loaded:\n{explain(error)}")


def add_to_path(folder: Path) -> None:
    """Let modules be imported from a folder."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def apps_of(module: ModuleType) -> dict[str, Aioq]:
    """Return the apps of a module, each under its first name, the usual names before others."""
    names = [*USUAL_NAMES, *vars(module)]
    found: dict[str, Aioq] = {}
    for name in names:
        value = vars(module).get(name)
        if isinstance(value, Aioq) and not any(value is each for each in found.values()):
            found[name] = value
    return found


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that may have been meant: the one whose last part is most similar."""
    ends = {each.rpartition(".")[2]: each for each in known}
    near = difflib.get_close_matches(name.rpartition(".")[2], ends, n=1)
    return ends[near[0]] if near else None


def meant(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?`, or nothing."""
    near = nearest(name, known)
    return f"; did you mean {near!r}?" if near else ""


def _import(reference: Reference) -> ModuleType:
    name = reference.module
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if _is_or_contains(missing, name):
            raise NotLoaded(_not_found(reference, missing)) from error
        raise raised(reference, error) from error
    except (Exception, SystemExit) as error:
        raise raised(reference, error) from error


def _is_or_contains(missing: str, name: str) -> bool:
    """Tell whether the import of `name` failed because it, or a parent of it, is not there."""
    return bool(missing) and f"{name}.".startswith(f"{missing}.")


def _not_found(reference: Reference, missing: str) -> str:
    parent, _, last = reference.module.rpartition(".")
    if parent and missing == reference.module and parent in sys.modules:
        if not hasattr(sys.modules[parent], "__path__"):
            return (
                f"{reference.text} cannot be imported: {parent} is a module, not a package; "
                f"if {last} is the app in it, write {parent}:{last}"
            )
        beside = _modules_in(Path(each) for each in sys.modules[parent].__path__)
        return f"{parent} has no module {last!r}{meant(last, beside)}"
    here = Path.cwd()
    return (
        f"there is no module {missing!r}{meant(missing, _modules_in([here]))}\n"
        f"  Looked for in the current folder, {here}, and among the installed packages.\n"
        "  Start the command in the folder that holds the module, or install your project "
        "(pip install -e .)."
    )


def _modules_in(folders: Iterable[Path]) -> list[str]:
    return [
        path.stem
        for folder in folders
        if folder.is_dir()
        for path in folder.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    ]


def _named(module: ModuleType, reference: Reference) -> Aioq:
    value: Any = module
    for depth, name in enumerate(reference.attribute.split(".")):
        try:
            value = getattr(value, name)
        except AttributeError as error:
            owner = ".".join([reference.module, *reference.attribute.split(".")[:depth]])
            near = meant(name, _public(value))
            message = f"{owner} has no attribute {name!r}{near}{_apps_here(module)}"
            raise NotLoaded(message) from error
    if inspect.isroutine(value) or isinstance(value, functools.partial):
        return _made(value, reference, module)
    return _checked(value, reference.text, module)


def _made(factory: Any, reference: Reference, module: ModuleType) -> Aioq:  # noqa: ANN401
    """Call a factory."""
    if inspect.iscoroutinefunction(factory):
        message = f"{reference.text} is an async def; a factory of apps is a plain def"
        raise NotLoaded(message)
    try:
        value = factory()
    except (Exception, SystemExit) as error:
        raise raised(reference, error) from error
    return _checked(value, f"what {reference.text} returns", module)


def _checked(value: object, what: str, module: ModuleType) -> Aioq:
    if isinstance(value, Aioq):
        return value
    kind = "a class" if isinstance(value, type) else f"of type {type(value).__qualname__}"
    message = f"{what} is {kind}, and no Aioq app{_apps_here(module)}"
    raise NotLoaded(message)


def _only(module: ModuleType, reference: Reference) -> tuple[str, Aioq]:
    apps = apps_of(module)
    first = next(iter(apps), "")
    if len(apps) == 1 or first in USUAL_NAMES:
        return first, apps[first]
    if not apps:
        message = (
            f"{reference.text} has no Aioq app: write app = Aioq() in it, or name another module"
        )
        raise NoAppError(message)
    names = ", ".join(f"{reference.module}:{name}" for name in apps)
    message = f"{reference.text} has {len(apps)} apps, name one of them: {names}"
    raise NotLoaded(message)


def _apps_here(module: ModuleType) -> str:
    names = ", ".join(f"{module.__name__}:{name}" for name in apps_of(module))
    return f"\n  The apps in this module: {names}" if names else ""


def _public(value: object) -> list[str]:
    return [name for name in dir(value) if not name.startswith("_")]


def _require_file(file: Path) -> None:
    if not file.is_file():
        beside = file.parent.glob("*.py") if file.parent.is_dir() else ()
        near = meant(file.name, [path.name for path in beside])
        message = f"there is no file {file}{near}"
        raise NotLoaded(message)


def _require_same_file(module: ModuleType, file: Path | None) -> None:
    """Refuse what another module of the same name has, such as the standard library's `queue`."""
    found = module.__file__
    if file is not None and found is not None and Path(found).resolve() != file:
        message = (
            f"{file} cannot be imported as {module.__name__!r}: {found} has that name as well; "
            "rename the file"
        )
        raise NotLoaded(message)


def _root_of(file: Path, base: Path) -> Path:
    """Return where the name of the file's module starts: at `base`, or at its package's root."""
    if file.is_relative_to(base) and file.relative_to(base).parts[0] != "src":
        return base
    folder = file.parent
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    return folder
