"""A Valkey or Redis server that aioq starts and stops by itself, for tests and development.

Either private to one process (`PrivateServer`) or shared by all processes of a project
(`SharedServer`).  No server outlives its users, however they die; no signal handler, `atexit`
or finalizer is involved, only what the kernel does when a process ends.

The names are imported when first used: `binary.installed()` decides the default server in every
process of every user, also where `fcntl` does not exist.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aioq.embedded.foreground import ForegroundServer
    from aioq.embedded.private import PrivateServer
    from aioq.embedded.shared import SharedServer
    from aioq.embedded.urls import find_project, open_url

__all__ = ["ForegroundServer", "PrivateServer", "SharedServer", "find_project", "open_url"]

_HOME = {
    "ForegroundServer": "foreground",
    "PrivateServer": "private",
    "SharedServer": "shared",
    "find_project": "urls",
    "open_url": "urls",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
