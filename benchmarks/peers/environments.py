"""One virtual environment per peer, as some exclude one another's versions of redis-py."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_ENVIRONMENTS = Path(__file__).parents[2] / ".venvs"
_TIMEOUT = 300.0


class NotInstalled(Exception):
    """A peer could not be installed here; the message is pip's last word."""


def environment(name: str, requirements: Sequence[str]) -> Path:
    """Return the Python of a peer's environment, made when it is missing or for other packages."""
    folder = _ENVIRONMENTS / name
    python = folder / "bin" / "python"
    # Written last, so an installation that was interrupted is done again.
    installed = folder / "installed.txt"
    wanted = "\n".join(requirements)
    if not installed.exists() or installed.read_text() != wanted:
        _run([sys.executable, "-m", "venv", "--clear", str(folder)])
        _run([str(python), "-m", "pip", "install", "--quiet", *requirements])
        installed.write_text(wanted)
    return python


def version(python: Path, distribution: str) -> str:
    """Return the version of a distribution in an environment."""
    program = f"from importlib.metadata import version; print(version({distribution!r}))"
    return _run([str(python), "-c", program]).strip()


def _run(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=True)
    except subprocess.CalledProcessError as error:
        raise NotInstalled((error.stderr.strip().splitlines() or ["no message"])[-1]) from error
    except subprocess.TimeoutExpired as error:
        raise NotInstalled(f"not done after {_TIMEOUT:.0f} s") from error
    return done.stdout
