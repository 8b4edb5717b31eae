"""Find the app that a command means.

In this order: the one named on the command line, by `-A`, by `AIOQ_APP`, by `[tool.aioq] app` in
pyproject.toml; else the usual files are looked through, and what was found is said.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import click

from aioq.app import Aioq, environment
from aioq.cli import references
from aioq.cli.failures import NotLoaded
from aioq.cli.flags import check_url, settle
from aioq.core.errors import ConfigurationError
from aioq.core.settings import Settings
from aioq.embedded import find_project

USUAL_FILES = ("tasks.py", "app.py", "main.py", "app/tasks.py", "src/*/tasks.py")


class Found(NamedTuple):
    """An app, and how it was found."""

    app: Aioq
    reference: references.Reference
    how: str


def find(
    argument: str | None, flag: str | None, settings: Settings, *, say: Callable[[str], None]
) -> Found:
    """Find and load the app.

    Args:
        argument: what stands on the command line.
        flag: what `-A` says.
        settings: those known without the app; they may name it.
        say: tells the user what a discovery has found.

    Raises:
        click.UsageError: two apps are named, or the name has no known form.
        NotLoaded: the app cannot be found, imported or loaded.
    """
    found = find_named(argument, flag, settings)
    if found is not None:
        return found
    found = _discover()
    say(
        f"found the app {found.reference.name} in {found.reference.text}; to make that "
        f'permanent, write into pyproject.toml:\n    [tool.aioq]\n    app = "{_to_write(found)}"'
    )
    return found


def find_named(argument: str | None, flag: str | None, settings: Settings) -> Found | None:
    """Find and load the app that is named somewhere; None where none is."""
    given = one_of(argument, flag)
    here = Path.cwd()
    sys.path[:] = [str(here), *(each for each in sys.path if each not in {"", str(here)})]
    if given:
        how = "named on the command line" if argument else "by -A"
        return _load(references.parse(given, here), how)
    if settings.app is None:
        return None
    how = environment.why("app", {})
    if how == "from AIOQ_APP":
        return _load(references.parse(settings.app, here), how)
    project = find_project(here)
    if str(project) not in sys.path:
        sys.path.insert(1, str(project))
    return _load(references.parse(settings.app, project), how)


def named_or_bare(*, app_flag: str | None, url: str | None, name: str | None) -> tuple[Aioq, bool]:
    """Return the app that is named somewhere, else one that knows the server only.

    Returns:
        The app, and whether it is the user's.

    Raises:
        click.UsageError: an app and `--name` are both given, or a setting is wrong.
        NotLoaded: the app cannot be found, imported or loaded.
    """
    chosen = {} if url is None else {"url": url}
    settings = settle(chosen)
    context = click.get_current_context(silent=True)
    if app_flag and name:
        message = "-A and --name are both given: the app has its own name"
        raise click.UsageError(message, context)
    found = None if name else find_named(None, app_flag, settings)
    if found is not None:
        return configured(found, chosen), True
    try:
        app = Aioq(name=name or "aioq")
    except ConfigurationError as error:
        raise click.UsageError(str(error), context) from error
    app.override(**chosen)
    return app, False


def one_of(argument: str | None, flag: str | None) -> str | None:
    """Return the app that is named by an argument or by `-A`.

    Raises:
        click.UsageError: both name one, and not the same.
    """
    if argument and flag and argument != flag:
        message = f"two apps are given: {argument} and -A {flag}"
        raise click.UsageError(message)
    return argument or flag


def configured(found: Found, flags: Mapping[str, Any]) -> Aioq:
    """Let the flags win over the app's own settings; return the app.

    Raises:
        NotLoaded: its settings cannot work together with them.
    """
    try:
        found.app.override(**flags)
        if found.app.settings.url is not None:
            check_url(found.app.settings.url)
    except ConfigurationError as error:
        raise NotLoaded(f"{found.reference.text}: {error}") from error
    return found.app


def _load(reference: references.Reference, how: str) -> Found:
    reference, app = references.load(reference)
    references.load_tasks(app, reference)
    return Found(app, reference, how)


def _discover() -> Found:
    here = Path.cwd()
    seen: list[str] = []
    for pattern in USUAL_FILES:
        for file in sorted(here.glob(pattern)):
            name = str(file.relative_to(here))
            seen.append(name)
            try:
                return _load(references.parse(name, here), f"discovered in {name}")
            except references.NoAppError:
                continue
    looked = ", ".join(USUAL_FILES)
    reason = f"there is no app in {', '.join(seen)}" if seen else f"there is none of {looked}"
    message = (
        f"no app is named, and {reason} in {here}\n"
        "  Name one: aioq ... module:app, or -A module:app, or AIOQ_APP=module:app, or in "
        'pyproject.toml\n    [tool.aioq]\n    app = "module:app"'
    )
    raise NotLoaded(message)


def _to_write(found: Found) -> str:
    """Return a reference that works without a search."""
    reference = found.reference
    if reference.text.startswith("src/"):
        return f"{reference.text}:{reference.attribute}"
    return reference.name
