"""Workflows on the server: stubs of their scripts, and how a plan of any size is made."""

from collections.abc import Generator, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

from aioq.broker import scripts
from aioq.broker.broker import Broker
from aioq.broker.resp import Reply
from aioq.broker.scripts import Call
from aioq.broker.sync import SyncBroker

REVOKED = 50
"""Jobs of a workflow that one call revokes."""


class NewNode(NamedTuple):
    """One job of a plan; `workflows/plan.lua` says what its letters mean."""

    job_id: str
    lane: str
    task: str
    due: str
    """Counted from when all that it waits for is there."""
    expires: str
    nonce: str
    payload: bytes
    needs: int
    tells: str
    kind: str


NODES, WORDS = 100, 500
"""Jobs, and words of one job, that one call takes, so that it is over in 5 ms."""


def parts(nodes: Sequence[NewNode], most: int = NODES) -> Iterator[list[NewNode]]:
    """Split a plan into parts that are made in a call each."""
    part: list[NewNode] = []
    size = 0
    for node in chain.from_iterable(map(_in_pieces, nodes)):
        cost = 1 + node.tells.count(" ") // 8
        if part and size + cost > most:
            yield part
            part, size = [], 0
        part.append(node)
        size += cost
    yield part


def _in_pieces(node: NewNode) -> Iterator[NewNode]:
    """Yield a node, and what is more of its words than one call takes."""
    words = node.tells.split() if len(node.tells) > WORDS else []
    if len(words) <= WORDS:
        yield node
        return
    yield node._replace(tells=" ".join(words[:WORDS]))
    for at in range(WORDS, len(words), WORDS):
        more = " ".join(words[at : at + WORDS])
        yield NewNode(node.job_id, "", "", "", "", "", b"", 0, more, "w")


def plan(
    prefix: str, *, root: str, mode: str, keep_ms: int, count: int, nodes: Sequence[NewNode]
) -> Call[bool]:
    """Create the jobs of a plan, or a part of it; False: it was there, or comes too late."""
    arguments = (prefix, root, mode, keep_ms, count, *chain.from_iterable(nodes))
    return Call(scripts.load("workflows/plan"), arguments, bool)


def seal(prefix: str, *, root: str) -> Call[bool]:
    """Let a large plan begin; False: it was given up."""
    return Call(scripts.load("workflows/seal"), (prefix, root), bool)


class Gathered(NamedTuple):
    """A part of what a job has got from those it waited for."""

    shape: bytes | None
    """Where each result belongs; None: the job is no gather, or has expired."""
    items: list[bytes | None]
    """Each a letter of state, and the value or error; None where there is none (yet)."""


def gather(prefix: str, *, job_id: str, first: int, count: int) -> Call[Gathered]:
    """Read results that a job has gathered."""
    return Call(scripts.load("workflows/gather"), (prefix, job_id, first, count), _parse_gathered)


def _parse_gathered(reply: Reply) -> Gathered:
    shape, items = reply
    return Gathered(shape, items)


class PlanProgress(NamedTuple):
    """How far a workflow has come."""

    state: str
    """The letter of its root's state; "" nobody knows it."""
    gathered: int
    needs: int
    jobs: int


def progress(prefix: str, *, root: str) -> Call[PlanProgress]:
    """Ask how far a workflow has come."""
    return Call(scripts.load("workflows/progress"), (prefix, root), _parse_progress)


def _parse_progress(reply: Reply) -> PlanProgress:
    state, gathered, needs, jobs = reply
    return PlanProgress(state.decode(), gathered, needs, jobs)


def members(prefix: str, *, root: str, first: int, count: int) -> Call[list[str]]:
    """Name jobs of a workflow, the last ones first, so that nothing is released by those ended."""
    return Call(scripts.load("workflows/members"), (prefix, root, first, count), _parse_members)


def _parse_members(reply: Reply) -> list[str]:
    return [job_id.decode() for job_id in reply]


async def revoke(broker: Broker, job_id: str, *, at_once: bool, keep_ms: int) -> bool:
    """End a job on request, with all jobs of the workflow whose root it is, and all its children.

    Returns:
        False: nobody knows it, or all of it had ended.
    """
    steps = _revoking(broker.keys.prefix, job_id, at_once=at_once, keep_ms=keep_ms)
    call = next(steps)
    while True:
        try:
            call = steps.send(await broker.persist(call, patience=broker.enqueue_timeout))
        except StopIteration as end:
            return end.value


def revoke_sync(broker: SyncBroker, job_id: str, *, at_once: bool, keep_ms: int) -> bool:
    """`revoke` from plain sync code."""
    steps = _revoking(broker.keys.prefix, job_id, at_once=at_once, keep_ms=keep_ms)
    call = next(steps)
    while True:
        try:
            call = steps.send(broker.persist(call))
        except StopIteration as end:
            return end.value


def _revoking(
    prefix: str, job_id: str, *, at_once: bool, keep_ms: int
) -> Generator[Call[Any], Any, bool]:
    """Yield the calls that end a job and all that belongs to it; take their replies."""
    flags: list[int] = yield scripts.revoke(
        prefix, at_once=at_once, keep_ms=keep_ms, job_ids=[job_id]
    )
    accepted = bool(flags[0] & 1)
    roots, known = ([job_id] if flags[0] & 2 else []), {job_id}
    for root in roots:  # it grows
        first, has_more = 0, True
        while has_more:
            found: list[str] = yield members(prefix, root=root, first=first, count=REVOKED)
            if found:
                flags = yield scripts.revoke(
                    prefix, at_once=at_once, keep_ms=keep_ms, job_ids=found
                )
                accepted |= any(flag & 1 for flag in flags)
                more = (each for each, flag in zip(found, flags, strict=True) if flag & 2)
                roots += (each for each in more if each not in known)
                known.update(roots)
            first += len(found)
            has_more = len(found) == REVOKED
    return accepted
