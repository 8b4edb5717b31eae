"""From an `embedded://` URL to the server it means."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from aioq.core.errors import ConfigurationError
from aioq.embedded.shared import SharedServer


def open_url(url: str) -> SharedServer:
    """Start or join the server that an `embedded://` URL means; its `url` is the one to use.

    `embedded://` is the server of the project around the current folder, with its data in
    `.aioq`. `embedded:///path/to/dir` keeps its data in that folder; `%20` stands for a space.

    Raises:
        ConfigurationError: The URL is neither, or as `SharedServer.open`.
        BrokerUnavailable: As `SharedServer.open`.
    """
    return server_of(url).open()


def server_of(url: str) -> SharedServer:
    """Return the server that an `embedded://` URL means, not opened: no I/O but for the project."""
    parts = urlsplit(url)
    if parts.scheme != "embedded" or parts.netloc or parts.query or parts.fragment:
        raise _not_embedded(url)
    if not parts.path:
        return SharedServer(find_project(Path.cwd()))
    folder = Path(unquote(parts.path))
    if folder == Path("/"):
        raise _not_embedded(url)
    return SharedServer(folder, folder="")


def find_project(start: Path) -> Path:
    """Return the nearest folder at or above `start` with a pyproject.toml, else `start`."""
    start = start.absolute()
    for folder in (start, *start.parents):
        if (folder / "pyproject.toml").is_file():
            return folder
    return start


def _not_embedded(url: str) -> ConfigurationError:
    return ConfigurationError(
        f"{url!r} is not the URL of an embedded server. Write embedded:// for the server of this "
        "project, or embedded:///path/to/dir, with three slashes, to keep its data in that folder; "
        "write special characters as in any URL (%20, %3F, %23)."
    )
