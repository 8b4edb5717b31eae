"""What a job of a workflow has that a plain one has not: results of others, or many calls in one.

The first byte of a payload says whether there is any of it.
"""

from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any

from aioq.broker.broker import Broker
from aioq.broker.gathered import payload_of
from aioq.broker.scripts import Delivery
from aioq.broker.steps import take
from aioq.context import Context, tell_failure
from aioq.core import codec
from aioq.core.errors import InvalidArguments
from aioq.core.inputs import calls
from aioq.worker.plan import Plan

Call = tuple[list[Any], dict[str, Any]]


class Ungated(Plan):
    """The plan of a job that came past the gates of its limits before its arguments are known."""

    __slots__ = ()


class NotAdmitted(Exception):
    """The job has to pass the gates of its limits first; carries the call that they ask about."""

    def __init__(self, call: codec.Payload) -> None:
        super().__init__(call)
        self.call = call


class Mapped(Plan):
    """How to run a task once for each item; the plan's function takes the calls."""

    __slots__ = ()

    def arguments(self, payload: codec.Payload, context: Context) -> Call:
        """Turn the payload into the calls; none begins where one of them does not fit.

        Raises:
            InvalidArguments: a call does not fit the signature.
        """
        return [super(Mapped, self).arguments(each, context) for each in calls(payload)], {}


async def read(broker: Broker, plan: Plan, delivery: Delivery) -> tuple[Plan, codec.Payload]:
    """Read the payload of a job, results of others included, and say how to run it.

    Raises:
        ResultExpired: a result is not kept any more.
        InvalidArguments, NewerPayload: see `codec.decode_payload`.
        NotAdmitted: it is for its limits to say when it starts.
    """
    if delivery.payload[:1] == codec.USUAL:
        return plan, codec.decode_payload(delivery.payload)
    steps = payload_of(broker.keys.prefix, delivery.job_id.decode(), delivery.payload)
    payload = await take(broker, steps, patience=None)  # an outage fails no job
    if isinstance(payload.inputs, Exception):
        tell_failure(payload.inputs)
    if isinstance(plan, Ungated):
        every = calls(payload) if payload.mapped else [payload]
        if every:
            raise NotAdmitted(every[0])
    if not payload.mapped:
        return plan, payload
    if plan.is_batch:
        message = f"{plan.name} takes many jobs in one call: it cannot be mapped over items as well"
        raise InvalidArguments(message)
    return Mapped(*plan._replace(function=over_each(plan.function))), payload


def over_each(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that takes calls, makes them in their order and returns their results."""

    async def asynchronous(*every: Call) -> list[Any]:
        return [await function(*args, **kwargs) for args, kwargs in every]

    def synchronous(*every: Call) -> list[Any]:
        return [function(*args, **kwargs) for args, kwargs in every]

    return asynchronous if iscoroutinefunction(function) else synchronous


def for_process(payload: codec.Payload, sent: bytes) -> bytes:
    """Return what a child process is sent of a job: all that was read is in it."""
    if sent[:1] == codec.USUAL:
        return sent
    fields = (payload.args, payload.kwargs, payload.headers, payload.inputs, payload.mapped)
    return codec.EXTENDED_HEADER + codec.encode_value(fields)
