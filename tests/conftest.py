"""Real servers, an empty place on one of them for each test, and a clock that tests can move."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from aioq.embedded import PrivateServer, binary
from tests.broker.clock import Clock
from tests.broker.place import Place


def _programs() -> dict[str, Path]:
    """Return the servers to test with: the one that users get, and a Redis if there is one."""
    programs = {"embedded": binary.find()}
    redis = shutil.which("redis-server")
    if redis is not None and Path(redis) != programs["embedded"]:
        programs["redis"] = Path(redis)
    return programs


PROGRAMS = _programs()

# The machine may be busy, and the first value of a strategy imports what it is made with.
settings.register_profile("aioq", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("aioq")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests marked `broker` on every server of the matrix."""
    if "program" in metafunc.fixturenames and metafunc.definition.get_closest_marker("broker"):
        metafunc.parametrize("program", list(PROGRAMS), indirect=True, scope="session")


@pytest.fixture(scope="session")
def program(request: pytest.FixtureRequest) -> Iterator[Path]:
    """The server program; every `PrivateServer` that starts meanwhile runs it."""
    chosen = PROGRAMS[getattr(request, "param", "embedded")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(binary.VARIABLE, str(chosen))
        yield chosen


@pytest.fixture(scope="session")
def server(program: Path) -> Iterator[PrivateServer]:
    """A server for all tests of the session; what a test sets on it is put back."""
    with PrivateServer() as started:
        yield started


@pytest.fixture
def place(server: PrivateServer) -> Iterator[Place]:
    """An empty database; when the test is over, nothing may be left that belongs to nobody."""
    with Place(server.url) as made:
        yield made
        made.check()


@pytest.fixture
def new_server(program: Path) -> Iterator[Callable[..., PrivateServer]]:
    """Start servers of a test's own, to be restarted, frozen, filled or locked."""
    started: list[PrivateServer] = []

    def start(*arguments: str, appendonly: bool = False, port: int | None = None) -> PrivateServer:
        made = PrivateServer(appendonly=appendonly, port=port, arguments=arguments)
        started.append(made.start())
        return made

    yield start
    for each in started:
        each.stop()


@pytest.fixture
def clock(place: Place, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that the scripts read in place of the server's; it moves only when it is moved."""
    made = Clock(place)
    monkeypatch.setattr("aioq.broker.scripts.load", made.load)
    return made
