"""What is known of a server, from what it says of itself and from what it keeps to itself."""

from collections.abc import Callable

import pytest

from aioq.broker import server
from aioq.broker.server import ServerFacts, facts
from aioq.broker.weather import Weather
from aioq.embedded import PrivateServer
from tests.broker.place import Place, broker_on
from tests.broker.users import user

NewServer = Callable[..., PrivateServer]


@pytest.mark.parametrize(
    ("info", "title", "is_too_old"),
    [
        ({"redis_version": "7.0.15"}, "Redis 7.0.15", False),
        ({"redis_version": "6.2.0"}, "Redis 6.2.0", False),
        ({"redis_version": "6.0.16"}, "Redis 6.0.16", True),
        ({"redis_version": "5.0.7"}, "Redis 5.0.7", True),
        ({"redis_version": "10.0.0"}, "Redis 10.0.0", False),
        ({"redis_version": "7.2.4", "valkey_version": "8.1.1"}, "Valkey 8.1.1", False),
        ({"redis_version": "6.3.4", "executable": "/bin/keydb-server"}, "KeyDB 6.3.4", False),
        ({"redis_version": "7.4.0", "dragonfly_version": "df-v1.28.1"}, "Dragonfly 1.28.1", False),
        ({"redis_version": "7.4.3", "garnet_version": "1.0.50"}, "Garnet 1.0.50", False),
        ({"redis_version": "unstable"}, "Redis unstable", False),
        ({}, "Redis (version unknown)", False),
    ],
)
def test_name_and_version(info: dict[str, str], title: str, is_too_old: bool) -> None:  # noqa: FBT001 - a case
    found = facts(info, {})
    assert (found.title, found.is_too_old) == (title, is_too_old)


@pytest.mark.parametrize(
    ("known", "words", "keeps_nothing"),
    [
        ({"appendonly": True, "fsync": "always"}, "append-only file, fsync always", False),
        ({"appendonly": True, "fsync": "everysec"}, "append-only file, fsync every second", False),
        ({"appendonly": True, "fsync": "no"}, "append-only file, fsync left to the system", False),
        ({"appendonly": True}, "append-only file", False),
        ({"appendonly": False, "snapshots": True}, "snapshots only: a crash of the server", False),
        ({"appendonly": False, "snapshots": False}, "none: a restart of the server loses", True),
        ({"appendonly": False}, "no append-only file", False),
        ({"snapshots": False}, "unknown", False),
        ({}, "unknown", False),
    ],
)
def test_persistence_in_words(
    known: dict[str, object],
    words: str,
    keeps_nothing: bool,  # noqa: FBT001 - a case
) -> None:
    found = ServerFacts(**known)  # pyright: ignore[reportArgumentType] - some of the fields
    assert found.persistence.startswith(words)
    assert found.keeps_nothing == keeps_nothing


async def facts_of(place: Place, url: str | None = None) -> ServerFacts:
    async with broker_on(place, url=url) as broker:
        return await server.read(broker)


@pytest.mark.broker
async def test_a_server_as_it_is(place: Place) -> None:
    found = await facts_of(place)
    assert found.name in {"Redis", "Valkey"}
    assert not found.is_too_old
    assert (found.policy, found.appendonly, found.snapshots) == ("noeviction", False, False)


@pytest.mark.broker
@pytest.mark.parametrize("fsync", ["always", "everysec", "no"])
async def test_an_append_only_file(new_server: NewServer, fsync: str) -> None:
    started = new_server("--appendfsync", fsync, appendonly=True)
    with Place(started.url) as place:
        found = await facts_of(place)
    assert (found.appendonly, found.fsync) == (True, fsync)


@pytest.mark.broker
async def test_snapshots(new_server: NewServer) -> None:
    started = new_server("--save", "3600 1")
    with Place(started.url) as place:
        found = await facts_of(place)
    assert (found.appendonly, found.snapshots) == (False, True)


@pytest.mark.broker
async def test_a_policy_that_was_changed_is_seen(new_server: NewServer) -> None:
    started = new_server("--maxmemory-policy", "allkeys-lru")
    with Place(started.url) as place:
        assert (await facts_of(place)).policy == "allkeys-lru"


@pytest.mark.broker
async def test_a_managed_server_without_config_says_most_of_it_all_the_same(
    new_server: NewServer,
) -> None:
    started = new_server("--rename-command", "CONFIG", "", appendonly=True)
    place = Place(started.url)
    found = await facts_of(place)
    place.admin.close()
    assert (found.policy, found.appendonly) == ("noeviction", True)
    assert (found.fsync, found.snapshots) == (None, None)
    assert found.persistence == "append-only file"


@pytest.mark.broker
@pytest.mark.parametrize(
    ("rules", "policy", "version_is_known"),
    [(["+info"], "noeviction", True), (["+config|get"], "noeviction", False), ([], None, False)],
)
async def test_an_acl_hides_what_it_hides(
    place: Place,
    rules: list[str],
    policy: str | None,
    version_is_known: bool,  # noqa: FBT001 - a case
) -> None:
    with user(place.url, "joe", *rules) as url:
        found = await facts_of(place, url)
    assert (found.policy, found.version is not None) == (policy, version_is_known)


async def test_a_server_that_is_away_is_weather_and_not_unknown(place: Place) -> None:
    async with broker_on(place, url="redis://localhost:1") as broker:
        with pytest.raises(Weather):
            await server.read(broker)
