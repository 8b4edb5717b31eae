"""What aioq does on a server, and so what an ACL has to allow: the only list of it.

What a script calls is read from its source, so nothing that is made from here can be behind.
"""

import re
from functools import cache
from typing import Literal, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from aioq.broker import scripts
from aioq.broker.keys import TABLE

_SCRATCH = {
    "<job>": "a",
    "<queue>": "q",
    "<priority>": "5",
    "<worker>": "w",
    "<lane>": "q:5",
    "<gate>": "g",
    "<key>": "k",
    "<limit>": "c:n:",
    "<name>": "c:n",
    "<client>": "c",
    "<schedule>": "c",
    "<event>": "e",
}


def _scratch_keys() -> list[str]:
    """Return every key that the scratch job can have, from the table of keys."""
    kinds = [kind.name for kind in TABLE if kind.type not in {"", "channel"}]
    return [
        re.sub(r"<\w+>", lambda part: _SCRATCH[part[0]], f"!:{name}").replace(" ", "_")
        for name in kinds
    ]


TRIALS = {
    "DEL": " ".join(["DEL", *_scratch_keys()]),
    "EXISTS": "EXISTS !:sv:q",
    "GET": "GET !:v:a",
    "GETDEL": "GETDEL !:y:a",
    "HDEL": "HDEL !:j:a f",
    "HEXISTS": "HEXISTS !:j:a f",
    "HGET": "HGET !:j:a f",
    "HGETALL": "HGETALL !:j:a",
    "HINCRBY": "HINCRBY !:j:a f 1",
    "HLEN": "HLEN !:g:a",
    "HMGET": "HMGET !:j:a f",
    "HRANDFIELD": "HRANDFIELD !:gx:a 1 WITHVALUES",
    "HSCAN": "HSCAN !:cr 0",
    "HSET": "HSET !:j:a f 1",
    "HSTRLEN": "HSTRLEN !:g:a 0",
    "INCR": "INCR !:dn",
    "LINDEX": "LINDEX !:gl 0",
    "LLEN": "LLEN !:b:q",
    "LPOP": "LPOP !:gl",
    "LPUSH": "LPUSH !:ch:c x",
    "LRANGE": "LRANGE !:ch:c 0 0",
    "LTRIM": "LTRIM !:ch:c 0 9",
    "PERSIST": "PERSIST !:j:a",
    "PEXPIRE": "PEXPIRE !:j:a 60000",
    "PTTL": "PTTL !:v:a",
    "PUBLISH": "PUBLISH !:r:c x",
    "RPUSH": "RPUSH !:b:q x",
    "SADD": "SADD !:l x",
    "SCARD": "SCARD !:sl:c:n:",
    "SET": "SET !:v:a x PX 60000",
    "SISMEMBER": "SISMEMBER !:l x",
    "SMEMBERS": "SMEMBERS !:l",
    "SMISMEMBER": "SMISMEMBER !:l x",
    "SRANDMEMBER": "SRANDMEMBER !:l 1",
    "SREM": "SREM !:l x",
    "TIME": "TIME",
    "UNLINK": "UNLINK !:g:a",
    "XACK": "XACK !:s:q:5 w 1-1",
    "XADD": "XADD !:s:q:5 * j a",
    "XDEL": "XDEL !:s:q:5 1-1",
    "XGROUP|CREATE": "XGROUP CREATE !:s:q:5 w 0 MKSTREAM",
    "XGROUP|DELCONSUMER": "XGROUP DELCONSUMER !:s:q:5 w w",
    "XINFO|CONSUMERS": "XINFO CONSUMERS !:s:q:5 w",
    "XLEN": "XLEN !:s:q:5",
    "XPENDING": "XPENDING !:s:q:5 w",
    "XRANGE": "XRANGE !:s:q:5 - +",
    "XREADGROUP": "XREADGROUP GROUP w w COUNT 1 STREAMS !:s:q:5 >",
    "XREVRANGE": "XREVRANGE !:si:a + - COUNT 1",
    "ZADD": "ZADD !:d 1 x",
    "ZCARD": "ZCARD !:d",
    "ZCOUNT": "ZCOUNT !:d 0 1",
    "ZPOPMIN": "ZPOPMIN !:d",
    "ZRANGE": "ZRANGE !:d 0 1",
    "ZRANGEBYSCORE": "ZRANGEBYSCORE !:d 0 1",
    "ZREM": "ZREM !:d x",
    "ZREMRANGEBYSCORE": "ZREMRANGEBYSCORE !:d 0 1",
    "ZREVRANGE": "ZREVRANGE !:d 0 1",
    "ZSCORE": "ZSCORE !:d x",
}
"""How a starting worker tries each command that the scripts call; `!:` is its scratch namespace,
and the first command clears it."""

Kind = Literal["command", "keys", "channels"]
"""What an ACL refuses."""

_CALLED = re.compile(r"\bp?call\('([A-Z]+)'(?:, '([A-Z]+)')?")
_CONTAINERS = {"XGROUP", "XINFO"}
"""Commands whose first word says which command it is."""


class Role(NamedTuple):
    """A kind of user of the server."""

    name: str
    does: str
    scripts: tuple[str, ...]
    commands: tuple[str, ...]
    """What it calls outside scripts, or in the only part of a script that it comes to."""
    optional: tuple[str, ...] = ()
    """What it can do without."""


_SCRIPT = ("EVAL", "EVALSHA")
_LISTEN = ("PING", "SUBSCRIBE")
_WAIT = ("GET", "HMGET")
"""What `wait.lua` does for a job that has ended."""
_READ_STREAMS = ("XRANGE", "XREAD", "XREVRANGE")
"""Items and events."""
_WORKFLOWS = tuple(
    f"workflows/{name}" for name in ("plan", "seal", "gather", "members", "progress")
)
_READ_LIMITS = ("HKEYS", "SSCAN", "ZSCAN")

WORKER = Role(
    "worker",
    "runs jobs, and enqueues",
    scripts.names(),
    (*_SCRIPT, *_LISTEN, "BLPOP"),
    optional=("INFO",),
)
PRODUCER = Role(
    "producer",
    "enqueues, revokes, reads and waits for results, sends events to jobs, waits at limiters",
    (
        *("enqueue", "look", "revoke", "wait", "durable/event", "events/history"),
        *("limits/acquire", "limits/declare", "limits/wake"),
        *_WORKFLOWS,
    ),
    (*_SCRIPT, *_LISTEN, *_READ_STREAMS),
)
READER = Role(
    "reader",
    "reads jobs, the results of those that have ended, dead letters, queues, schedules, limits, "
    "and who works",
    (
        *("letters", "look", "queues/figures", "schedules/page", "schedules/read"),
        *("events/history", "limits/count", "limits/describe"),
        *("workflows/gather", "workflows/progress"),
    ),
    (*_SCRIPT, *_LISTEN, *_WAIT, *_READ_STREAMS, *_READ_LIMITS, "SMEMBERS", "TIME", "ZRANGE"),
)
OPERATOR = Role(
    "operator",
    "what a producer does; reads, replays and discards dead letters; lists and pauses queues; "
    "adds, runs, pauses and removes schedules; lists, sets and resets limits",
    (
        *PRODUCER.scripts,
        *("discard", "letters", "replay"),
        *("queues/figures", "queues/pause", "queues/resume"),
        *("schedules/change", "schedules/fire", "schedules/page", "schedules/read"),
        "schedules/reconcile",
        *("limits/change", "limits/count", "limits/describe"),
    ),
    (*_SCRIPT, *_LISTEN, *_READ_STREAMS, *_READ_LIMITS, "SMEMBERS", "TIME", "ZRANGE"),
)
DOCTOR = Role(
    "doctor",
    "runs `aioq doctor`, also with `--repair`",
    ("fsck/gates", "fsck/jobs", "fsck/keys", "fsck/lane", "reap"),
    (*_SCRIPT, "GET", "SCAN", "SMEMBERS", "SSCAN", "TIME", "ZCARD", "ZCOUNT", "ZRANGE", "ZSCAN"),
    optional=("INFO",),
)
ROLES = (WORKER, PRODUCER, OPERATOR, READER, DOCTOR)


@cache
def called_by(script: str) -> frozenset[str]:
    """Return the commands that a script calls, by the names that an ACL gives them."""
    code = re.sub(r"--.*", "", scripts.read(script))
    return frozenset(
        f"{command}|{word}" if command in _CONTAINERS else command
        for command, word in _CALLED.findall(code)
    )


def commands_of(role: Role) -> list[str]:
    """Return every command that a role cannot do without."""
    return sorted({*role.commands, *(each for name in role.scripts for each in called_by(name))})


def rules_of(role: Role, prefix: str) -> list[str]:
    """Return what to give to `ACL SETUSER` for a role, beside its name and its password."""
    patterns = ["resetkeys", f"~{prefix}*", "resetchannels", f"&{prefix}*"]
    commands = [*commands_of(role), *role.optional]
    return [*patterns, "nocommands", *(f"+{command.lower()}" for command in commands)]


def users_of(command: str) -> list[str]:
    """Return the scripts that call a command."""
    return [name for name in scripts.names() if command in called_by(name)]


def kind_of(error: str) -> Kind:
    """Tell what an ACL has refused; servers word it differently, and differently in scripts."""
    if "permissions to run" in error or "can't run" in error:
        return "command"
    return "channels" if "channel" in error else "keys"


def user_in(url: str) -> str:
    """Return the user that a URL names."""
    parts = urlsplit(url)
    return parts.username or dict(parse_qsl(parts.query)).get("username", "default")
