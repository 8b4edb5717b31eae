"""Run tasks in a child process: this is all that runs there, one job after another.

A child is a fresh interpreter that imports the task's module; nothing of its worker comes along.
When the socket between them closes in the middle of a job, the worker has died or wants that job
to end: the child kills itself, with all that it has started.
"""

import asyncio
import inspect
import os
import pickle
import runpy
import signal
import socket
import sys
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from importlib import import_module
from queue import SimpleQueue
from types import FrameType, ModuleType
from typing import Any, BinaryIO, NoReturn

import msgspec

from aioq.context import Context, Request, running, tell_failure
from aioq.core import codec
from aioq.core.inputs import calls
from aioq.core.outcome import original, ungrouped
from aioq.core.retry import Retry
from aioq.core.signature import Parameters
from aioq.tasks import Task
from aioq.worker.inputs import over_each
from aioq.worker.orders import LENGTH, MAIN, STARTED, Answer, Order, Raised, Reference
from aioq.worker.soft_limit import SoftLimit, exceeded


def serve(descriptor: int) -> None:
    """Run what the worker sends over this socket, to its end."""
    stream = socket.socket(fileno=descriptor)
    stream.set_inheritable(False)
    # Ctrl-C and a stopping service reach every process at once; when a job ends is the worker's
    # to say.  Handlers, not SIG_IGN: a program that a task starts must not inherit it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave_it_to_the_worker)
    orders: SimpleQueue[bytes | None] = SimpleQueue()
    busy = threading.Event()

    incoming = stream.makefile("rb")

    def hear() -> None:
        while (frame := _receive(incoming)) is not None:
            busy.set()
            orders.put(frame)
        if busy.is_set():
            os.killpg(0, signal.SIGKILL)
        orders.put(None)

    threading.Thread(target=hear, name="aioq-orders", daemon=True).start()
    while (frame := orders.get()) is not None:
        answer = run(frame, started=lambda: _send(stream, STARTED))
        busy.clear()
        _send(stream, msgspec.msgpack.encode(answer))


def run(frame: bytes, started: Callable[[], None]) -> Answer:
    """Find the task, run it, and say how it ended."""
    try:
        return Answer(_run(msgspec.msgpack.decode(frame, type=Order), started))
    except BaseException as error:  # noqa: BLE001 - a task may raise anything; it becomes a value here
        return Answer(None, codec.encode_error(original(error)), _pickled(ungrouped(error)))


def _run(asked: Order, started: Callable[[], None]) -> bytes:
    where, facts = asked.where, asked.facts
    function = _find(where)
    parameters = Parameters(function, task=where.name, injected=Context, bind=where.bind)
    decoded = codec.decode_payload(asked.payload)
    context = Context(
        request=Request(facts.job_id, facts.retries, facts.deliveries, facts.eta),
        task_name=where.name,
        queue=facts.queue,
        headers=decoded.headers,
    )
    running.set(context)
    tell_failure(decoded.inputs)

    def arguments(call: codec.Payload) -> tuple[list[Any], dict[str, Any]]:
        args = parameters.converters.args(call.args)
        kwargs = parameters.converters.kwargs(call.kwargs)
        if where.bind:
            args.insert(0, context)
        parameters.inject(args, kwargs, context)
        return args, kwargs

    if decoded.mapped:
        function, args = over_each(function), [arguments(each) for each in calls(decoded)]
        kwargs = dict[str, Any]()
    else:
        args, kwargs = arguments(decoded)
    started()
    value = _call(function, args, kwargs, asked)
    if inspect.iscoroutine(value):
        value = _complete(value, context, asked.soft_time_limit)
    return b"" if asked.ignore_result else codec.encode_value(value)


def _call(
    function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any], asked: Order
) -> Any:  # noqa: ANN401 - what the task returns
    """Call a function; its soft limit is an alarm, whose error arrives between two instructions."""
    seconds = asked.soft_time_limit
    if seconds is None or inspect.iscoroutinefunction(function):
        return function(*args, **kwargs)

    def exceed(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - a handler's
        raise exceeded(asked.where.name, seconds)

    before = signal.signal(signal.SIGALRM, exceed)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            return function(*args, **kwargs)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.signal(signal.SIGALRM, before)


def _complete(run: Coroutine[Any, Any, Any], context: Context, seconds: float | None) -> Any:  # noqa: ANN401 - what the task returns
    """Run a coroutine in an event loop of its own."""

    async def limited() -> tuple[Any, BaseException | None]:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        try:
            if seconds is None or task is None:
                return await run, None
            limit = SoftLimit(run, task=task, context=context, seconds=seconds)
            timer = loop.call_later(seconds, limit.interrupt)
            try:
                return await limit, None
            finally:
                timer.cancel()
        except asyncio.CancelledError as error:  # a value here: asyncio.run has its own idea of it
            return None, error

    value, error = asyncio.run(limited())
    if error is not None:
        raise error
    return value


def _find(where: Reference) -> Any:  # noqa: ANN401 - any function
    found: Any = import_module(where.module) if where.file is None else _main(where.file)
    for part in where.qualname.split("."):
        found = getattr(found, part)
    return found.function if isinstance(found, Task) else found


def _main(file: str) -> ModuleType:
    """Run the worker's main module once, under another name, so that it does not start a worker."""
    if MAIN not in sys.modules:
        module = ModuleType(MAIN)
        module.__dict__.update(runpy.run_path(file, run_name=MAIN))
        sys.modules[MAIN] = sys.modules["__main__"] = module
    return sys.modules[MAIN]


def _pickled(error: BaseException) -> bytes:
    """Return what the worker needs of the exception, to judge it by its class.

    Many exceptions can be pickled and not unpickled, as their `__init__` takes something else than
    what it passes on; their class and message cross alone then.
    """
    bare: list[object] = [error, Raised(type(error), str(original(error)))]
    if isinstance(error, Retry):  # what it asks for counts, whatever it carries
        asked = Retry(countdown=error.countdown, eta=error.eta, max_retries=error.max_retries)
        bare.insert(1, asked)
    return next(filter(None, map(_through_pickle, bare)), b"")


def _through_pickle(value: object) -> bytes | None:
    try:
        pickled = pickle.dumps(value)
        pickle.loads(pickled)  # noqa: S301 - our own bytes
    except Exception:  # noqa: BLE001 - whatever a user's class does when it is pickled
        return None
    return pickled


def _leave_it_to_the_worker(number: int, frame: FrameType | None) -> None:
    """Ignore a signal that the worker has had as well."""


def _send(stream: socket.socket, frame: bytes) -> None:
    with suppress(OSError):  # the worker has gone, which is heard elsewhere
        stream.sendall(LENGTH.pack(len(frame)) + frame)


def _receive(stream: BinaryIO) -> bytes | None:
    """Return the next frame; None: the worker has closed its end, or died."""
    try:
        head = stream.read(LENGTH.size)
        if len(head) < LENGTH.size:
            return None
        (length,) = LENGTH.unpack(head)
        frame = stream.read(length)
    except OSError:
        return None
    return frame if len(frame) == length else None
