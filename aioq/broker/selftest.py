"""Try out, before the first job, all that a worker does on its server.

A right that is missing would else be found out in the middle of a job's life, by a script that is
cut in half.  The trial is one script in a namespace of its own: no key of the app is touched, and
nothing is left even of a worker that is killed meanwhile.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from aioq.broker import events, letters, limits, memos, plans, rights, schedules, scripts, streams
from aioq.broker.broker import Broker
from aioq.broker.connection import Connection, dial
from aioq.broker.resp import Argument, Reply, ReplyError
from aioq.broker.scripts import Call, Limit, NewJob, SelfTested, Settlement, Update
from aioq.broker.server import UnfitServer
from aioq.broker.weather import Refused, Weather, judge
from aioq.core.recurring import version_of

_JOB, _LANE, _QUEUE, _WORKER = "a", "q:5", "q", "w"
_SCHEDULE = schedules.Change("c", b"\nd", next_ms=1, keep="")
_LIMIT = limits.Numbers("c:n", "1")
_CRASHES = [Limit("t", "1")]
_TOKEN = b"@"
_EXPECTED = "timeout is negative"
"""The error of a BLPOP that was allowed, and did not wait."""

_Errors = dict[str, ReplyError]
"""What the server said, by the command that it did not run."""


class Step(NamedTuple):
    """One script in the life of the scratch job."""

    call: Call[Any]
    expected: object = None
    """What its reply means, where that tells whether the job went the right way."""


def steps() -> list[Step]:
    """Return the life of the scratch job, one line for each script."""
    p, ms = "", 60_000  # the prefix is that of the namespace, whatever is given
    job = NewJob(_JOB, _LANE, "t", due="", expires="", nonce="", payload=b"p")
    note = Update(_JOB.encode(), _TOKEN, "p", b"x")
    end = Settlement(_JOB.encode(), _TOKEN, "c", ms, b"r")
    own: dict[str, Any] = {"worker": _WORKER, "most": 1}
    running: dict[str, Any] = {"job_id": _JOB.encode(), "entry_id": _TOKEN}
    by_hand = schedules.Fire(
        _SCHEDULE.name, version_of(_SCHEDULE.definition), 0, 0, "n", _JOB, _LANE, "t", "", "", b"p"
    )
    dead: dict[str, Any] = {"dead_ms": ms, "dead_max": 1}
    line: dict[str, Any] = {"limit": "c:n:", "numbers": "1 1 1", "client": "c"}
    return [
        Step(scripts.register(p, worker=_WORKER, lease_ms=ms, events=True, limits=_CRASHES)),
        Step(scripts.beat(p, worker=_WORKER, lease_ms=ms, presence=b"", queues=[_QUEUE])),
        Step(scripts.enqueue(p, count=1, ask=True, jobs=[job]), scripts.Enqueued([True], [])),
        Step(scripts.look(p, job_id=_JOB)),
        Step(scripts.wait(p, client="c", job_ids=[_JOB])),
        Step(scripts.backlog(p, lanes=[_LANE]), 1),
        Step(scripts.ring(p, queue=_QUEUE)),
        Step(scripts.fetch(p, worker=_WORKER, epoch=0, room=1, keep_ms=ms, lanes=[_LANE])),
        Step(scripts.update(p, count=1, updates=[note]), [True]),
        Step(streams.emit(p, generation=0, first=1, items=[b"i"], **running), 1),
        Step(memos.memo(p, **running)),
        Step(memos.note(p, most=9, name="s", kind="s", value=b"x", **running)),
        Step(memos.hear(p, name="h", event="e", timeout="", **running)),
        Step(memos.event(p, nonce="n", event="e", value=b"x", keep_ms=ms, job_id="", most=1)),
        Step(memos.results(p, numbers=[], **running), []),
        Step(memos.start(p, most=0, children=[], **running), 0),
        Step(scripts.recover(p, epoch=1, known=[], **own), 1),
        Step(scripts.fetch(p, worker=_WORKER, epoch=1, room=1, keep_ms=ms, lanes=[_LANE])),
        Step(scripts.settle(p, count=1, outcomes=[end], **dead), "K"),
        Step(scripts.revoke(p, at_once=True, keep_ms=ms, job_ids=[_JOB]), [False]),
        Step(letters.letters(p, after="", since="", task="", queue="", full=True, most=1)),
        Step(letters.replay(p, nonce="n", job_ids=[_JOB]), "c"),
        Step(letters.discard(p, nonce="n", job_ids=[_JOB]), [False]),
        Step(plans.plan(p, root=_JOB, mode="p", keep_ms=ms, count=0, nodes=[]), expected=False),
        Step(plans.seal(p, root=_JOB), expected=True),
        Step(plans.gather(p, job_id=_JOB, first=0, count=1)),
        Step(plans.progress(p, root=_JOB)),
        Step(plans.members(p, root=_JOB, first=0, count=1)),
        Step(schedules.reconcile(p, source="", version=0, changes=[_SCHEDULE])),
        Step(schedules.due(p, most=1, source="c")),
        Step(schedules.fire(p, count=1, fires=[by_hand]), "K"),
        Step(schedules.page(p, after="0", most=1)),
        Step(schedules.read(p, name="c", most=1)),
        Step(schedules.change(p, name="c", op=schedules.PAUSE), expected=True),
        Step(limits.declare(p, source="c", version=0, complete=True, limits=[_LIMIT])),
        Step(limits.change(p, limit=_LIMIT.field, numbers="2"), expected=True),
        Step(limits.describe(p, limits=["c:n:"])),
        Step(limits.wake(p, limit=_LIMIT.field, most=1), 0),
        Step(limits.count(p, lines=[b"g k"]), 0),
        Step(limits.acquire(p, nonce=1, waits=True, tickets=[limits.Ticket(1, 1)], **line)),
        Step(events.history(p, job_id=_JOB, after="0-0", most=1)),
        Step(scripts.reap(p, is_crash=False, lease_ms=ms, **own, **dead)),
    ]


async def run(broker: Broker) -> bool:
    """Try what a worker needs; return whether the server is full; one attempt.

    Raises:
        Refused: rights are missing; the message names them, and what grants them.
        UnfitServer: this server cannot run the scripts.
        Weather: it cannot be asked now.
    """
    errors: _Errors = {}
    life = steps()
    connection = await dial(broker.topology)
    try:
        tested = await _try_scripts(connection, broker.keys.prefix, life, errors)
        await _try_commands(connection, broker.keys.prefix, errors)
    finally:
        connection.drop()
    judged = {name: judge(error) for name, error in errors.items()}
    for name, error in judged.items():
        # A script that is refused although its commands are not: the server's word must do.
        if isinstance(error, Weather) or (name.endswith(".lua") and isinstance(error, Refused)):
            raise error
    refused = {name: str(errors[name]) for name in errors if isinstance(judged[name], Refused)}
    if refused:
        raise Refused(_missing(broker, refused))
    unfit = [f"{name}: {error}" for name, error in errors.items()] + _astray(life, tested)
    if unfit:
        message = f"{broker.topology.url} cannot run what a worker needs: {'; '.join(unfit)}"
        raise UnfitServer(message)
    return tested.is_full


async def _try_scripts(
    connection: Connection, prefix: str, life: Sequence[Step], errors: _Errors
) -> SelfTested:
    """Try every script, and every command that they call by itself."""
    names = list(rights.TRIALS)
    clear = rights.TRIALS["DEL"]
    trials = [*rights.TRIALS.values(), clear]  # the life of the job begins with nothing
    call = scripts.selftest(prefix, count=len(trials), trials=trials, steps=_flat(life))
    reply, _ = await asyncio.gather(
        _ask(connection, errors, *call.command),
        # Needed too, for a server may forget its scripts at any time.
        _ask(connection, errors, "EVAL", "return 1", 0),
    )
    if "EVALSHA" in errors and errors["EVALSHA"].code == "NOSCRIPT":
        del errors["EVALSHA"]
        reply = await _ask(connection, errors, *call.full_command)
    if reply is None:
        return SelfTested(is_full=False, denied=[], replies=[], failure="")
    tested = call.parse(reply)
    errors.update((names[index % len(names)], ReplyError(text)) for index, text in tested.denied)
    if tested.failure:
        errors[f"{life[len(tested.replies)].call.script.name}.lua"] = ReplyError(tested.failure)
    return tested


def _flat(life: Sequence[Step]) -> Iterator[Argument]:
    for call, _ in life:
        arguments = call.arguments[1:]
        yield from (call.script.name, len(arguments), *arguments)


async def _try_commands(connection: Connection, prefix: str, errors: _Errors) -> None:
    """Try what is called outside scripts, the subscription last: it changes the connection."""
    await asyncio.gather(
        _ask(connection, errors, "BLPOP", f"{prefix}!:b:{_QUEUE}", -1),
        _ask(connection, errors, "SUBSCRIBE", f"{prefix}!:k:{_WORKER}"),
        _ask(connection, errors, "PING"),
    )
    if _EXPECTED in str(errors.get("BLPOP")):
        del errors["BLPOP"]


async def _ask(connection: Connection, errors: _Errors, *command: Argument) -> Reply:
    """Return the reply to a command; note its error and return None where there is one."""
    try:
        return await connection.call(*command)
    except ReplyError as error:
        errors[str(command[0])] = error
        return None


def _missing(broker: Broker, refused: Mapping[str, str]) -> str:
    """Say which rights are missing, and what grants them."""
    lacks: list[str] = []
    rules: list[str] = []
    for command, error in refused.items():
        kind, pattern = rights.kind_of(error), f"{broker.keys.prefix}*"
        lack, rule = {
            "command": (_with_users(command), f"+{command.lower()}"),
            "keys": (f"the keys {pattern}", f"~{pattern}"),
            "channels": (f"the channels {pattern}", f"&{pattern}"),
        }[kind]
        if rule not in rules:
            lacks.append(lack)
            rules.append(rule)
    url = broker.topology.url
    user = rights.user_in(url)
    return (
        f"{url}: the user {user!r} has no right to {', '.join(lacks)}; a worker needs it: "
        f"ACL SETUSER {user} {' '.join(rules)} (the guide 'Preparing a server' lists all rights)"
    )


def _with_users(command: str) -> str:
    """Name a command and the scripts that call it."""
    users = [f"{name}.lua" for name in rights.users_of(command)]
    return f"{command} ({', '.join(users)})" if users else command


def _astray(life: Sequence[Step], tested: SelfTested | None) -> list[str]:
    """Return the steps that ended otherwise than they should."""
    return [
        f"{step.call.script.name}.lua gave {reply!r}"
        for step, reply in zip(life, tested.replies if tested else (), strict=False)
        if step.expected is not None and step.call.parse(reply) != step.expected
    ]
