"""URLs: what each form means, and what is wrong with those that mean nothing."""

import pytest

from aioq.broker.topology import Address, Topology, parse, redact
from aioq.core.errors import ConfigurationError

PREFIX = "{test.0}:"


def only(url: str) -> Address:
    [seed] = parse(url, prefix=PREFIX).seeds
    return seed


@pytest.mark.parametrize(
    ("url", "shown", "arguments"),
    [
        ("redis://", "redis://localhost:6379/0", {}),
        ("redis://h", "redis://h:6379/0", {"host": "h"}),
        ("redis://h:1/2", "redis://h:1/2", {"host": "h", "port": 1, "db": 2}),
        ("redis://h?db=3", "redis://h:6379/3", {"host": "h", "db": 3}),
        ("redis://[::1]:7", "redis://::1:7/0", {"host": "::1", "port": 7}),
        ("rediss://h", "rediss://h:6379/0", {"host": "h"}),
        ("unix:///run/r.sock", "unix:///run/r.sock", {"path": "/run/r.sock"}),
        ("unix:///a%20b?db=4", "unix:///a b", {"path": "/a b", "db": 4}),
        (
            "redis://u:p%40ss@h",
            "redis://h:6379/0",
            {"host": "h", "username": "u", "password": "p@ss"},
        ),
        ("redis://:secret@h", "redis://h:6379/0", {"host": "h", "password": "secret"}),
    ],
)
def test_a_url_of_one_server(url: str, shown: str, arguments: dict[str, object]) -> None:
    address = only(url)
    assert str(address) == shown
    assert address.arguments == arguments


def test_a_sentinel_url_asks_each_sentinel_for_the_master() -> None:
    url = "redis+sentinel://joe:pw@s1,s2:7/mymaster/3?sentinel_password=spw"
    topology = parse(url, prefix=PREFIX)
    assert [seed.arguments for seed in topology.seeds] == [
        {"host": "s1", "port": 26379, "password": "spw"},
        {"host": "s2", "port": 7, "password": "spw"},
    ]
    assert topology.question == ("SENTINEL", "get-master-addr-by-name", "mymaster")
    assert topology.answer([b"10.0.0.1", b"6380"]) == Address(
        "tcp",
        {"db": 3, "username": "joe", "password": "pw", "host": "10.0.0.1", "port": 6380},
    )
    assert topology.answer(None) is None


def test_a_cluster_url_asks_each_node_for_the_one_that_has_our_keys() -> None:
    topology = parse("redis+cluster://:pw@h1,h2:7", prefix=PREFIX)
    assert [str(seed) for seed in topology.seeds] == ["redis://h1:6379/0", "redis://h2:7/0"]
    assert topology.question == ("CLUSTER", "SLOTS")
    slots = [[0, 8191, [b"a", 1, b"id"]], [8192, 16383, [b"b", 2, b"id"]]]
    found = topology.answer(slots)
    assert found is not None
    assert found.arguments["password"] == "pw"
    assert topology.answer([]) is None


def test_all_keys_of_an_app_lie_in_the_slot_of_its_prefix() -> None:
    slots = [[slot, slot, [b"node", slot, b"id"]] for slot in range(16384)]
    ours = parse("redis+cluster://h", prefix=PREFIX).answer(slots)
    same = parse("redis+cluster://h", prefix=PREFIX + "j:any-job").answer(slots)
    other = parse("redis+cluster://h", prefix="{other.0}:").answer(slots)
    assert ours == same
    assert ours != other


@pytest.mark.parametrize("host", [b"", None])
def test_a_node_that_does_not_know_its_own_address_is_the_one_that_was_asked(
    host: bytes | None,
) -> None:
    found = parse("redis+cluster://h1", prefix=PREFIX).answer([[0, 16383, [host, 9, b"id"]]])
    assert str(found) == "redis://h1:9/0"


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("localhost:6379", "starts with one of redis://, rediss://"),
        ("http://localhost", "starts with one of"),
        ("", "starts with one of"),
        ("redis:/localhost", "starts with one of"),
        ("redis://h:port", "Port could not be cast"),
        ("redis://h:99999", "Port out of range"),
        ("redis://h?db=x", "Invalid value for 'db'"),
        ("redis://h/shop", "the database is a number"),
        ("unix://", "needs a path"),
        ("redis+sentinel://h", "the name of the master is missing"),
        ("redis+sentinel://h/m/db", "invalid literal"),
        ("redis+sentinel:///m", "a host is missing"),
        ("redis+cluster://", "a host is missing"),
        ("redis+cluster://h:x", "no host"),
    ],
)
def test_a_url_that_means_nothing_is_one_clear_error(url: str, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named) as caught:
        parse(url, prefix=PREFIX)
    assert repr(url) in str(caught.value)


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("redis://[::1", "IPv6"),
        ("redis://h?colour=red", "colour"),
        ("redis://h?max_connections=10", "max_connections"),
        ("redis+sentinel://h/m?colour=red", "colour"),
        ("redis+cluster://h/3", "database"),
    ],
)
def test_a_part_of_a_url_that_would_be_ignored_is_an_error(url: str, named: str) -> None:
    """Or it would come up later, as a TypeError of redis-py, or never: another database."""
    with pytest.raises(ConfigurationError, match=named):
        parse(url, prefix=PREFIX)


@pytest.mark.parametrize(
    "url", ["redis+sentinel://[::1],[::2]:7/m", "redis+cluster://[::1],[::2]:7"]
)
def test_an_ipv6_address_needs_no_port(url: str) -> None:
    seeds = parse(url, prefix=PREFIX).seeds
    assert [seed.arguments["host"] for seed in seeds] == ["::1", "::2"]


@pytest.mark.parametrize(
    "url",
    [
        "redis://:secret@h:1/0",
        "redis://joe:secret@h:1/0",
        "redis://joe:se@cret@h:1/0",
        "rediss://joe:secret@h",
        "redis+sentinel://joe:secret@h/m",
        "redis+cluster://joe:secret@h1,h2",
    ],
)
def test_a_password_is_never_shown(url: str) -> None:
    topology = parse(url, prefix=PREFIX)
    assert "cret" not in f"{topology!r}{topology}{topology.url}{redact(url)}"
    assert "***" in topology.url


@pytest.mark.parametrize(
    "url",
    [
        "redis://h?password=secret",
        "unix:///s?username=joe&password=secret",
        "redis+sentinel://h/m?sentinel_password=secret",
    ],
)
def test_a_password_in_the_query_is_never_shown_either(url: str) -> None:
    topology = parse(url, prefix=PREFIX)
    assert "secret" not in f"{topology!r}{topology}{topology.url}{redact(url)}"


@pytest.mark.parametrize(
    "url",
    [
        "redis://joe:secret@h:port",
        "nonsense://joe:secret@h",
        "redis://joe:secret/more@h",
        "redis://joe:secret?more@h",
        "redis://joe:#secret@h:port",
        "redis://:/secret@h:port",
        "redis+sentinel://joe:/secret@h",
        "redis+cluster://joe:/secret@h",
        "redis://[joe:secret@h",
    ],
)
def test_a_password_is_not_shown_by_the_error_about_its_url(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(url, prefix=PREFIX)
    assert "secret" not in str(caught.getrepr(style="short"))


def test_a_topology_of_one_server_asks_nobody() -> None:
    topology = parse("redis://h", prefix=PREFIX)
    assert topology == Topology("redis://h", (Address("tcp", {"host": "h"}),))
    assert topology.answer("anything") is None
