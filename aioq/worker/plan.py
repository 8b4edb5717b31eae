"""What the hot path needs of a task, worked out once at the worker's start."""

from collections.abc import Callable
from typing import Any, NamedTuple

from aioq.context import Context
from aioq.core import codec
from aioq.core.clock import milliseconds
from aioq.core.errors import InvalidArguments
from aioq.core.holds import Holds
from aioq.core.options import Executor
from aioq.core.retry import RetryPolicy
from aioq.core.signature import Parameters
from aioq.tasks import BatchTask, Task
from aioq.worker.streaming import streaming


class Plan(NamedTuple):
    """How to run one task."""

    task: Task[..., Any]
    name: str
    function: Callable[..., Any]
    parameters: Parameters
    executor: Executor
    retry_policy: RetryPolicy
    ignore_result: bool
    keep_ms: int
    """How long a result is kept."""
    bind: bool
    acks_late: bool
    time_limit: float | None
    soft_time_limit: float | None
    is_plain: bool
    """Whether it runs in the event loop and without time limits, as most do."""
    holds: Holds | None = None
    """Under which limits its jobs start; None where there are none."""
    is_batch: bool = False
    """Whether one call takes many of its jobs."""

    @classmethod
    def of(cls, task: Task[..., Any], result_expires: float) -> "Plan":
        """Work a task out.

        Raises:
            ConfigurationError: an annotation of the task cannot be decoded.
        """
        definition = task.definition
        task.parameters.compile()
        expires = definition.result_expires
        return cls(
            task=task,
            name=task.name,
            function=streaming(task.function) if task.streams else task.function,
            parameters=task.parameters,
            executor=definition.executor,
            retry_policy=definition.retry_policy,
            ignore_result=definition.ignore_result,
            keep_ms=milliseconds(result_expires if expires is None else expires),
            bind=task.bind,
            acks_late=definition.acks_late,
            time_limit=definition.time_limit,
            soft_time_limit=definition.soft_time_limit,
            is_plain=definition.executor == "loop"
            and definition.time_limit is None
            and definition.soft_time_limit is None
            and not isinstance(task, BatchTask),
            holds=task.holds,
            is_batch=isinstance(task, BatchTask),
        )

    def arguments(
        self, payload: codec.Payload, context: Context
    ) -> tuple[list[Any], dict[str, Any]]:
        """Turn a payload into the arguments to call the function with.

        Raises:
            InvalidArguments: they do not fit the signature.
        """
        args, kwargs = self.given(payload)
        if self.bind:
            args.insert(0, context)
        if self.parameters.injected:
            self.parameters.inject(args, kwargs, context)
        return args, kwargs

    def given(self, payload: codec.Payload) -> tuple[list[Any], dict[str, Any]]:
        """Turn a payload into the arguments that the caller gave.

        Raises:
            InvalidArguments: they do not fit the signature.
        """
        parameters = self.parameters
        try:
            parameters.check(tuple(payload.args), payload.kwargs)
        except TypeError as error:
            raise InvalidArguments(str(error)) from None
        args = parameters.converters.args(payload.args)
        return args, parameters.converters.kwargs(payload.kwargs) if payload.kwargs else {}

    def encode(self, value: object) -> bytes:
        """Encode what the function returned; empty where the result is ignored.

        Raises:
            TypeError: it cannot be serialised.
        """
        if self.ignore_result:
            return b""
        try:
            return codec.encode_value(value)
        except (TypeError, OverflowError, ValueError, RecursionError) as error:
            kind = type(value).__qualname__
            message = (
                f"{self.name} returned a value of type {kind} that cannot be serialised: {error}; "
                "return plain values, or set ignore_result=True"
            )
            raise TypeError(message) from None
