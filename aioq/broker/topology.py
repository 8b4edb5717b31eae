"""From a URL to the one server that holds our partition.

A single server, Sentinel and Cluster differ only here: each is a list of addresses to ask, a
question, and how to read the answer.  Whoever connects asks again, so a failover is nothing but
a lost connection.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast
from urllib.parse import parse_qsl, unquote, urlsplit

import redis.connection
from redis.crc import key_slot

from aioq.broker.resp import Reply
from aioq.core.errors import ConfigurationError

Kind = Literal["tcp", "tls", "unix"]
_parse_url = cast("Callable[[str], Any]", redis.connection.parse_url)  # pyright: ignore[reportUnknownMemberType]
SCHEMES = ("redis://", "rediss://", "unix://", "redis+sentinel://", "redis+cluster://")


@dataclass(frozen=True)
class Address:
    """One server, and what redis-py needs to open a connection to it."""

    kind: Kind
    arguments: dict[str, Any] = field(repr=False)

    def __str__(self) -> str:
        if self.kind == "unix":
            return f"unix://{self.arguments.get('path')}"
        scheme = "rediss" if self.kind == "tls" else "redis"
        host, port = self.arguments.get("host", "localhost"), self.arguments.get("port", 6379)
        return f"{scheme}://{host}:{port}/{self.arguments.get('db', 0)}"


Answer = Callable[[Reply], Address | None]


def _no_answer(reply: Reply) -> Address | None:  # noqa: ARG001 - the signature of an Answer
    return None


@dataclass(frozen=True)
class Topology:
    """How to find the server."""

    url: str
    """Without its password."""
    seeds: tuple[Address, ...]
    question: tuple[str, ...] = ()
    """Asked of each seed in turn; empty: the first seed is the server."""
    answer: Answer = _no_answer


def parse(url: str, *, prefix: str) -> Topology:
    """Read a URL.

    Args:
        url: see `SCHEMES`.
        prefix: the prefix of our keys; in a cluster its hash tag says which node is ours.

    Raises:
        ConfigurationError: the URL cannot be read, or has a part that would be ignored.
    """
    scheme = url.partition("://")[0]
    if scheme not in {known.removesuffix("://") for known in SCHEMES}:
        message = (
            f"the URL {redact(url)!r} has no scheme that is known; it starts with one of "
            f"{', '.join(SCHEMES)} or embedded://"
        )
        raise ConfigurationError(message)
    try:
        _check_query(url, scheme)
        if scheme == "redis+sentinel":
            return _sentinel(url)
        if scheme == "redis+cluster":
            return _cluster(url, prefix)
        return Topology(redact(url), (_address(url),))
    except (ValueError, TypeError) as error:
        # What the standard library says may quote the password.
        reason = (
            "a password with / ? # @ in it must be percent-encoded" if "@" in url else str(error)
        )
        message = f"the URL {redact(url)!r} cannot be read: {reason}"
        raise ConfigurationError(message) from None


def redact(url: str) -> str:
    """Take the passwords out of a URL, however malformed it is."""
    url = re.sub(r"(?<=://)([^:@]*):.*@", r"\1:***@", url)
    return re.sub(r"(password=)[^&#]*", r"\1***", url)


_QUERY = {"db", "username", "password", "client_name", "socket_keepalive"}
_SENTINEL_QUERY = {"sentinel_username", "sentinel_password"}


def _check_query(url: str, scheme: str) -> None:
    if urlsplit(url).fragment:
        message = "what comes after # would be ignored"
        raise ValueError(message)
    allowed = _SENTINEL_QUERY if scheme == "redis+sentinel" else _QUERY
    for name, _ in parse_qsl(urlsplit(url).query):
        if name not in allowed and not (scheme == "rediss" and name.startswith("ssl_")):
            message = f"its parameter {name!r} is none of {', '.join(sorted(allowed))}"
            raise ValueError(message)


def _address(url: str) -> Address:
    arguments: dict[str, Any] = dict(_parse_url(url))
    arguments.pop("connection_class", None)
    kind: Kind = "tls" if url.startswith("rediss") else "tcp"
    path = urlsplit(url).path.strip("/")
    if url.startswith("unix"):
        kind = "unix"
        if not arguments.get("path"):
            message = "a unix:// URL needs a path, such as unix:///run/redis.sock"
            raise ValueError(message)
    elif path and not path.isdigit():
        message = "the database is a number, such as redis://localhost:6379/0"
        raise ValueError(message)
    return Address(kind, arguments)


def _hosts(url: str, default_port: int) -> tuple[list[tuple[str, int]], dict[str, Any]]:
    """Split `user:password@h1:p1,h2:p2` into hosts and credentials."""
    netloc = urlsplit(url).netloc
    credentials, at, hosts = netloc.rpartition("@")
    arguments: dict[str, Any] = {}
    if at:
        user, _, password = credentials.partition(":")
        arguments = {"username": unquote(user) or None, "password": unquote(password)}
    return [_host(each, default_port) for each in hosts.split(",")], arguments


def _host(text: str, default_port: int) -> tuple[str, int]:
    match = re.fullmatch(r"(\[[^\]]+\]|[^:\[\]]+)(?::(\d+))?", text)
    if match is None:
        message = f"{text!r} is no host" if text else "a host is missing"
        raise ValueError(message)
    return match[1].strip("[]"), int(match[2] or default_port)


def _sentinel(url: str) -> Topology:
    """Read `redis+sentinel://h1:26379,h2:26379/mymaster/0`."""
    hosts, credentials = _hosts(url, 26379)
    parts = urlsplit(url)
    service, _, db = parts.path.strip("/").partition("/")
    if not service:
        message = "the name of the master is missing: redis+sentinel://host:26379/mymaster/0"
        raise ValueError(message)
    query = dict(parse_qsl(parts.query))
    base = {"db": int(db or 0), **credentials}
    sentinels = {
        key: query[f"sentinel_{key}"]
        for key in ("username", "password")
        if f"sentinel_{key}" in query
    }

    def answer(reply: Reply) -> Address | None:
        if reply is None:
            return None
        return Address("tcp", {**base, "host": reply[0].decode(), "port": int(reply[1])})

    seeds = [Address("tcp", {"host": host, "port": port, **sentinels}) for host, port in hosts]
    question = ("SENTINEL", "get-master-addr-by-name", service)
    return Topology(redact(url), tuple(seeds), question, answer)


def _cluster(url: str, prefix: str) -> Topology:
    """Read `redis+cluster://h1:6379,h2:6379`."""
    hosts, credentials = _hosts(url, 6379)
    if urlsplit(url).path.strip("/"):
        message = "a cluster has only one database; leave the path out"
        raise ValueError(message)
    slot = key_slot(prefix.encode())
    seeds = [Address("tcp", {"host": host, "port": port, **credentials}) for host, port in hosts]

    def answer(reply: Reply) -> Address | None:
        for first, last, node, *_ in reply:
            if first <= slot <= last:
                host = (node[0] or b"").decode() or seeds[0].arguments["host"]
                return replace(
                    seeds[0], arguments={**seeds[0].arguments, "host": host, "port": node[1]}
                )
        return None

    return Topology(redact(url), tuple(seeds), ("CLUSTER", "SLOTS"), answer)
