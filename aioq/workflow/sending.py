"""Send a workflow: check and encode every job of it, then make them all, or none.

A small plan is one call.  A large one is filled in parts, and nothing of it runs before it is
sealed; where that fails half-way it is given up, here or by the server after a minute (G8).
"""

from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any

from aioq.broker import plans
from aioq.broker.keys import lane
from aioq.broker.plans import NewNode
from aioq.broker.steps import Steps, take, take_sync
from aioq.core.errors import BrokerUnavailable, ConfigurationError
from aioq.producer import DEFAULT_PRIORITY, Producer, new_job_id
from aioq.tasks import Composable, Home
from aioq.workflow import compiling
from aioq.workflow.compiling import Node, Plan
from aioq.workflow.handles import Workflow, handle, nothing


def send(composition: Composable[Any], args: tuple[Any, ...]) -> Coroutine[Any, Any, Workflow[Any]]:
    """Check a workflow now, and return what makes its jobs.

    Raises:
        TypeError: the arguments of a job do not fit its signature; nothing was sent.
        ConfigurationError: the workflow cannot be, or its tasks are of several apps.
    """
    plan = compiling.compile(composition, args)
    producer = _producer(plan)
    sending = _send(composition, plan, producer, encoded(plan, producer))
    # Should nobody await it, Python warns "coroutine '<this name>' was never awaited".
    sending.__qualname__ = f"{composition!r}.enqueue()"
    return sending


async def _send(
    composition: Composable[Any], plan: Plan, producer: Producer | None, nodes: list[NewNode]
) -> Workflow[Any]:
    if producer is None:
        return nothing(composition, plan)
    broker, root = producer.client.broker(), nodes[-1].job_id
    prefix, keep_ms = broker.keys.prefix, producer.client.keep_ms
    try:
        made = await take(broker, _making(prefix, root, keep_ms, nodes))
    except BrokerUnavailable:
        if len(nodes) > plans.NODES:
            with suppress(BrokerUnavailable):
                await plans.revoke(broker, root, at_once=True, keep_ms=keep_ms)
        raise
    return handle(composition, plan, producer.client, created=made)


def send_sync(composition: Composable[Any], args: tuple[Any, ...]) -> Workflow[Any]:
    """`send` from plain sync code, to its end."""
    plan = compiling.compile(composition, args)
    producer = _producer(plan)
    nodes = encoded(plan, producer)
    if producer is None:
        return nothing(composition, plan)
    broker, root = producer.client.sync(), nodes[-1].job_id
    prefix, keep_ms = broker.keys.prefix, producer.client.keep_ms
    try:
        made = take_sync(broker, _making(prefix, root, keep_ms, nodes))
    except BrokerUnavailable:
        if len(nodes) > plans.NODES:
            with suppress(BrokerUnavailable):
                plans.revoke_sync(broker, root, at_once=True, keep_ms=keep_ms)
        raise
    return handle(composition, plan, producer.client, created=made)


def _making(prefix: str, root: str, keep_ms: int, nodes: Sequence[NewNode]) -> Steps[bool]:
    """Make the jobs; return False where a job of the root's id was there before."""
    # The root comes first, so that it is known from the first part on whether it was there.
    parts = list(plans.parts([nodes[-1], *nodes[:-1]]))
    if len(parts) == 1:
        return (yield _part(prefix, root, "w", keep_ms, nodes))
    mode = "f"
    for part in parts:
        if not (yield _part(prefix, root, mode, keep_ms, part)):
            if mode == "f":
                return False
            raise BrokerUnavailable(_given_up(root))
        mode = "p"
    if not (yield plans.seal(prefix, root=root)):
        raise BrokerUnavailable(_given_up(root))
    return True


def _part(
    prefix: str, root: str, mode: str, keep_ms: int, nodes: Sequence[NewNode]
) -> plans.Call[bool]:
    return plans.plan(prefix, root=root, mode=mode, keep_ms=keep_ms, count=len(nodes), nodes=nodes)


def _given_up(root: str) -> str:
    return (
        f"workflow {root} was given up by the server, since its parts came too slowly; nothing of "
        "it runs, so send it again"
    )


def _producer(plan: Plan) -> Producer | None:
    """Return what makes the jobs of the tasks' app; None: there is no job to make.

    Raises:
        ConfigurationError: the tasks are of several apps.
    """
    found: dict[Home, str] = {}
    for node in plan.nodes:
        if node.signature is not None:
            found.setdefault(node.signature.task.home, node.signature.task.name)
    if len(found) > 1:
        names = " and ".join(list(found.values())[:2])
        message = f"{names} belong to different apps; a workflow's tasks are all of one app"
        raise ConfigurationError(message)
    return next((home.producer for home in found), None)


def encoded(plan: Plan, producer: Producer | None) -> list[NewNode]:
    """Check and encode every job."""
    if producer is None:
        return []
    compiling.link(plan.nodes)
    nowhere = lane(producer.settings.default_queue, DEFAULT_PRIORITY)
    return [_encode(node, nowhere) for node in plan.nodes]


def _encode(node: Node, nowhere: str) -> NewNode:
    signature, tells = node.signature, " ".join(node.tells)
    if signature is None:
        # An id of the caller's own may be known already: the nonce tells who made it.
        nonce = "" if node.call.job_id is None else new_job_id()
        job = (node.job_id, nowhere, compiling.GATHER, "", "", nonce, compiling.payload_of(node))
        return NewNode(*job, node.needs, tells, node.kind)
    prepared = signature.prepare_step(
        node.call, inputs=compiling.inputs_of(node), before=len(node.inputs)
    )
    job = prepared.job._replace(job_id=node.job_id)
    return NewNode(*job, node.needs, tells, node.kind)
