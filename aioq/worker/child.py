"""Run one task in a child process; imported there, and nothing of the parent comes along."""

import asyncio
import inspect
from datetime import datetime
from importlib import import_module
from typing import Any, NamedTuple

from aioq.context import Context, Request, running
from aioq.core import codec
from aioq.core.errors import ConfigurationError
from aioq.core.outcome import original
from aioq.core.signature import Parameters
from aioq.tasks import Task


class Reference(NamedTuple):
    """Where a child finds a task."""

    module: str
    qualname: str
    name: str
    bind: bool


class Facts(NamedTuple):
    """What a child knows of its job."""

    job_id: str
    retries: int
    deliveries: int
    eta: datetime | None
    queue: str


class Failed(Exception):
    """The task raised; carries the exception where it can be pickled, and its encoded form."""

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
    return Reference(function.__module__, function.__qualname__, task.name, task.bind)


def facts(context: Context) -> Facts:
    """Return what a child needs to know of its job."""
    request = context.request
    return Facts(request.id, request.retries, request.deliveries, request.eta, context.queue)


def run(where: Reference, payload: bytes, known: Facts) -> bytes:
    """Find the task, run it, and return its encoded result."""
    try:
        return _run(where, payload, known)
    except Exception as error:  # noqa: BLE001 - a task may raise anything; it becomes a value here
        raise Failed(codec.encode_error(original(error)), _portable(error)) from None


def _run(where: Reference, payload: bytes, known: Facts) -> bytes:
    function = _find(where)
    parameters = Parameters(function, task=where.name, injected=Context, bind=where.bind)
    decoded = codec.decode_payload(payload)
    context = Context(
        request=Request(known.job_id, known.retries, known.deliveries, known.eta),
        task_name=where.name,
        queue=known.queue,
        headers=decoded.headers,
    )
    running.set(context)
    args = parameters.converters.args(decoded.args)
    kwargs = parameters.converters.kwargs(decoded.kwargs)
    if where.bind:
        args.insert(0, context)
    parameters.inject(args, kwargs, context)
    value = function(*args, **kwargs)
    if inspect.iscoroutine(value):
        value = asyncio.run(value)
    return codec.encode_value(value)


def _find(where: Reference) -> Any:  # noqa: ANN401 - any function
    found: Any = import_module(where.module)
    for part in where.qualname.split("."):
        found = getattr(found, part)
    return found.function if isinstance(found, Task) else found


def _portable(error: BaseException) -> BaseException | None:
    """Return the error if it survives pickling, so that autoretry_for can look at its class."""
    import pickle  # noqa: PLC0415 - checks what the pool will do with it

    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    except Exception:  # noqa: BLE001 - whatever a user's class does when it is pickled
        return None
    return error
