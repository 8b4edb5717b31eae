"""Where settings come from (arguments, environment, pyproject.toml), and which server is meant."""

import os
import sys
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from aioq import embedded
from aioq.broker import topology
from aioq.core import settings as core
from aioq.core.errors import ConfigurationError
from aioq.core.settings import Settings
from aioq.embedded import binary

DEFAULT_URL = "redis://localhost:6379/0"


class Server(NamedTuple):
    """The server that was chosen, and why."""

    url: str
    reason: str


def resolve(arguments: Mapping[str, Any]) -> Settings:
    """Settle the settings: arguments, then the environment, then pyproject.toml, then defaults.

    Raises:
        ConfigurationError: naming the source, the field, the value and the range.
    """
    return core.merge(arguments, from_environment(os.environ), from_pyproject(Path.cwd()))


def from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """Read every `AIOQ_…` variable that is a field's."""
    found = {
        name: environ[core.environment_name(name)]
        for name in core.SETTING_NAMES
        if core.environment_name(name) in environ
    }
    return core.parse(found, where="environment", from_text=True)


def from_pyproject(start: Path) -> dict[str, Any]:
    """Read `[tool.aioq]` of the nearest pyproject.toml."""
    path = embedded.find_project(start) / "pyproject.toml"
    if not path.is_file():
        return {}
    try:
        document: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        message = f"{path} cannot be read: {error}"
        raise ConfigurationError(message) from None
    tools = document.get("tool", {})
    table = cast("dict[str, Any]", tools).get("aioq", {}) if isinstance(tools, dict) else tools
    if not isinstance(table, dict):
        message = f"{path}: [tool.aioq] must be a table of settings, not {table!r}"
        raise ConfigurationError(message)
    return core.parse(cast("dict[str, Any]", table), where=f"{path} [tool.aioq]")


def check_url(url: str | None) -> None:
    """Read a URL, to no other end than that a mistake shows at once.

    Raises:
        ConfigurationError: it cannot be read.
    """
    if url is not None and not url.startswith("embedded:"):
        topology.parse(url, prefix="")


def why(field: str, arguments: Mapping[str, Any], flags: Collection[str] = ()) -> str:
    """Say where the value of a field came from."""
    if field in flags:
        return f"given by --{field}"
    if field in arguments:
        return "given to Aioq(...)"
    if core.environment_name(field) in os.environ:
        return f"from {core.environment_name(field)}"
    return "from pyproject.toml"


def choose(settings: Settings, arguments: Mapping[str, Any], flags: Collection[str]) -> Server:
    """Choose the server, starting the development server where it is the one."""
    if settings.url is not None:
        reason = why("url", arguments, flags)
        if settings.url.startswith("embedded:"):
            return Server(_join(embedded.open_url(settings.url)), reason)
        return Server(settings.url, reason)
    if settings.embedded == "never":
        return _said(
            Server(DEFAULT_URL, "the default, since no URL is given and AIOQ_EMBEDDED=never")
        )
    if not binary.installed():
        return _said(
            Server(DEFAULT_URL, "the default, since no URL is given; AIOQ_URL names another")
        )
    project = embedded.find_project(Path.cwd())
    url = _join(embedded.SharedServer(project))
    reason = (
        f"the DEVELOPMENT SERVER of {project}, since no URL is given; set AIOQ_URL for another "
        "server, or AIOQ_EMBEDDED=never to forbid this one"
    )
    return _said(Server(url, reason))


def _said(server: Server) -> Server:
    """Say on stderr which server was chosen for want of a URL."""
    print(f"aioq: server {server.url}: {server.reason}.", file=sys.stderr, flush=True)  # noqa: T201
    return server


_joined: list[embedded.SharedServer] = []
"""Held for the life of the process: the server stops when its last holder is gone."""


def _join(server: embedded.SharedServer) -> str:
    server.open()
    _joined.append(server)
    return server.url
