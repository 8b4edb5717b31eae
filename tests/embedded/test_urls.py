"""Which server an `embedded://` URL means."""

from pathlib import Path

import pytest

from aioq.core.errors import ConfigurationError
from aioq.embedded import find_project, open_url
from aioq.embedded.urls import server_of

from .processes import say


def test_without_a_path_it_is_the_project_around_the_current_folder(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = project / "src" / "shop"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert server_of("embedded://").directory == project / ".aioq"


@pytest.mark.parametrize(
    ("url", "directory"),
    [
        ("embedded:///var/data", "/var/data"),
        ("embedded:///with%20space/%C5%BC", "/with space/ż"),
        ("embedded:///with space/100%25", "/with space/100%"),
    ],
)
def test_with_a_path_the_data_lie_in_it(url: str, directory: str) -> None:
    assert server_of(url).directory == Path(directory)


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "embedded://relative/path",
        "embedded:///",
        "embedded:///data?fsync=no",
        "embedded:///data#1",
    ],
)
def test_anything_else_is_an_error_that_shows_how_to_write_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match="embedded:///path/to/dir"):
        server_of(url)


def test_meaning_a_server_creates_nothing(tmp_path: Path) -> None:
    server_of(f"embedded://{tmp_path}/data")
    assert not (tmp_path / "data").exists()


def test_opening_the_url_starts_the_server(tmp_path: Path) -> None:
    with open_url(f"embedded://{tmp_path}/new/data") as server:
        assert say(server.url, "PING") == "+PONG"
        assert server.directory == tmp_path / "new" / "data"


def test_the_project_is_the_nearest_folder_with_a_pyproject_toml(project: Path) -> None:
    inner = project / "packages" / "inner"
    (inner / "src").mkdir(parents=True)
    assert find_project(inner / "src") == project
    (inner / "pyproject.toml").touch()
    assert find_project(inner / "src") == inner
    assert find_project(inner) == inner


def test_without_a_pyproject_toml_the_project_is_the_folder_itself(tmp_path: Path) -> None:
    assert find_project(tmp_path) == tmp_path
