"""Plain functions that stand for coroutine functions."""

import inspect
import sys
from collections.abc import Callable
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])


def coroutine_function(function: F) -> F:
    """Mark a plain function that returns a coroutine as a coroutine function.

    `BackgroundTasks.add_task` and friends look for this mark; the function itself stays plain,
    so that it can refuse wrong arguments before anything is awaited.
    """
    if sys.version_info >= (3, 12):
        return inspect.markcoroutinefunction(function)
    # Python 3.11 reads the flag of the code alone; what makes a coroutine is an opcode.
    code = cast("Any", function).__code__
    cast("Any", function).__code__ = code.replace(co_flags=code.co_flags | inspect.CO_COROUTINE)
    return function
