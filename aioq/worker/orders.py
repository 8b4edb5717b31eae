"""What a worker and its child processes say to each other about a job.

Frames on a socket, the length first: an order one way; a sign that the function begins and an
answer the other.  MessagePack, but for the exception itself, which no other way could carry.
"""

import inspect
import pickle
import struct
import sys
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from aioq.context import Context
from aioq.core.errors import ConfigurationError
from aioq.tasks import Task

LENGTH = struct.Struct("!Q")
"""What stands before each frame."""
STARTED = b""
"""The frame that says that the function begins now."""
MAIN = "__mp_main__"
"""The worker's main module, as a child knows it; multiprocessing has the same name for it."""


class Reference(NamedTuple):
    """Where a child finds a task."""

    module: str
    qualname: str
    name: str
    bind: bool
    file: str | None
    """The file of a module that cannot be imported by its name, because it is the main one."""


class Facts(NamedTuple):
    """What a child knows of its job."""

    job_id: str
    retries: int
    deliveries: int
    eta: datetime | None
    queue: str


class Order(NamedTuple):
    """One job to run."""

    where: Reference
    payload: bytes
    facts: Facts
    ignore_result: bool
    soft_time_limit: float | None


class Answer(NamedTuple):
    """How it ended."""

    result: bytes | None
    """Encoded; None where the task raised."""
    error: bytes = b""
    """Encoded, with the traceback."""
    pickled: bytes = b""
    """The exception itself, where it can be pickled: `autoretry_for` looks at its class."""


class Raised(NamedTuple):
    """What stands for an exception that cannot be pickled."""

    kind: type[BaseException]
    message: str


class Failed(Exception):
    """The task raised in a child; carries its encoded form, and the exception if there is one."""

    def __init__(self, encoded: bytes, error: BaseException | None) -> None:
        super().__init__(encoded, error)
        self.encoded = encoded
        self.error = error


def reference(task: Task[..., Any]) -> Reference:
    """Return where a child finds a task.

    Raises:
        ConfigurationError: the function is not at the top of its module.
    """
    function = task.function
    if "<locals>" in function.__qualname__:
        message = (
            f'task {task.name} has executor="process" but is defined inside a function; move it '
            "to the top of its module, where a child process can import it"
        )
        raise ConfigurationError(message)
    is_main = function.__module__ in {"__main__", MAIN}
    file = inspect.getfile(function) if is_main else None
    return Reference(function.__module__, function.__qualname__, task.name, task.bind, file)


def order(task: Task[..., Any], payload: bytes, context: Context) -> bytes:
    """Write down what a child is to do."""
    request = context.request
    facts = Facts(request.id, request.retries, request.deliveries, request.eta, context.queue)
    options = task.definition
    asked = Order(reference(task), payload, facts, options.ignore_result, options.soft_time_limit)
    return msgspec.msgpack.encode(asked)


def result(answer: bytes) -> bytes:
    """Read a child's answer.

    Raises:
        Failed: the task raised, or its result cannot be serialised.
    """
    read = msgspec.msgpack.decode(answer, type=Answer)
    if read.result is not None:
        return read.result
    error: BaseException | None = None
    if read.pickled:
        # A class of the main module has another name there.
        sys.modules.setdefault(MAIN, sys.modules["__main__"])
        error = _unpickled(read.pickled)
    raise Failed(read.error, error)


def _unpickled(pickled: bytes) -> BaseException | None:
    try:
        found = pickle.loads(pickled)  # noqa: S301 - our own child's bytes
        if isinstance(found, Raised):  # without __init__, which may want what we do not have
            error = found.kind.__new__(found.kind)
            error.args = (found.message,)
            return error
    except Exception:  # noqa: BLE001 - whatever a user's class does when it is pickled
        return None
    return found if isinstance(found, BaseException) else None
