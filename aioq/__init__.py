"""The task queue for asyncio: coroutines on Redis Streams, acknowledged late, never lost.

The public names, and nothing else.  They are imported when first used (PEP 562), so that
`import aioq` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aioq.app import Aioq, batch_task, task
    from aioq.context import CONTEXT, Context, current_job
    from aioq.core.bucket import Concurrency, TokenBucket
    from aioq.core.cron import crontab, every
    from aioq.core.errors import (
        AioqError,
        BrokerFull,
        BrokerUnavailable,
        ConfigurationError,
        DependencyFailed,
        InvalidArguments,
        JobNotFound,
        NonDeterministic,
        NotUnique,
        PayloadTooLarge,
        ResultExpired,
        Revoked,
        ScheduleNotFound,
        SoftTimeLimitExceeded,
        StreamGap,
        StreamRestarted,
        SuspendSwallowed,
        TaskFailed,
        TimeLimitExceeded,
        WorkerLost,
    )
    from aioq.core.record import (
        DeadLetter,
        JobError,
        JobInfo,
        JobState,
        JobUpdate,
        Progress,
        QueueInfo,
    )
    from aioq.core.recurring import Occurrence, ScheduleInfo
    from aioq.core.retry import Retry
    from aioq.core.settings import Settings
    from aioq.core.unique import Unique
    from aioq.job import Job, StreamJob
    from aioq.limits import LimitInfo
    from aioq.streams import ItemStream
    from aioq.tasks import BatchContext, BatchTask, Signature, StreamTask, Task
    from aioq.workflow import GroupWorkflow, Workflow, chain, chord, group

_HOMES = {
    "aioq.app": ("Aioq", "batch_task", "task"),
    "aioq.context": ("CONTEXT", "Context", "current_job"),
    "aioq.core.bucket": ("Concurrency", "TokenBucket"),
    "aioq.core.cron": ("crontab", "every"),
    "aioq.core.errors": (
        "AioqError",
        "BrokerFull",
        "BrokerUnavailable",
        "ConfigurationError",
        "DependencyFailed",
        "InvalidArguments",
        "JobNotFound",
        "NonDeterministic",
        "NotUnique",
        "PayloadTooLarge",
        "ResultExpired",
        "Revoked",
        "ScheduleNotFound",
        "SoftTimeLimitExceeded",
        "StreamGap",
        "StreamRestarted",
        "SuspendSwallowed",
        "TaskFailed",
        "TimeLimitExceeded",
        "WorkerLost",
    ),
    "aioq.core.record": (
        "DeadLetter",
        "JobError",
        "JobInfo",
        "JobState",
        "JobUpdate",
        "Progress",
        "QueueInfo",
    ),
    "aioq.core.recurring": ("Occurrence", "ScheduleInfo"),
    "aioq.core.retry": ("Retry",),
    "aioq.core.settings": ("Settings",),
    "aioq.core.unique": ("Unique",),
    "aioq.job": ("Job", "StreamJob"),
    "aioq.streams": ("ItemStream",),
    "aioq.limits": ("LimitInfo",),
    "aioq.tasks": ("BatchContext", "BatchTask", "Signature", "StreamTask", "Task"),
    "aioq.workflow": ("GroupWorkflow", "Workflow", "chain", "chord", "group"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__version__ = "0.1.0"
__all__ = [
    "CONTEXT",
    "Aioq",
    "AioqError",
    "BatchContext",
    "BatchTask",
    "BrokerFull",
    "BrokerUnavailable",
    "Concurrency",
    "ConfigurationError",
    "Context",
    "DeadLetter",
    "DependencyFailed",
    "GroupWorkflow",
    "InvalidArguments",
    "ItemStream",
    "Job",
    "JobError",
    "JobInfo",
    "JobNotFound",
    "JobState",
    "JobUpdate",
    "LimitInfo",
    "NonDeterministic",
    "NotUnique",
    "Occurrence",
    "PayloadTooLarge",
    "Progress",
    "QueueInfo",
    "ResultExpired",
    "Retry",
    "Revoked",
    "ScheduleInfo",
    "ScheduleNotFound",
    "Settings",
    "Signature",
    "SoftTimeLimitExceeded",
    "StreamGap",
    "StreamJob",
    "StreamRestarted",
    "StreamTask",
    "SuspendSwallowed",
    "Task",
    "TaskFailed",
    "TimeLimitExceeded",
    "TokenBucket",
    "Unique",
    "WorkerLost",
    "Workflow",
    "batch_task",
    "chain",
    "chord",
    "crontab",
    "current_job",
    "every",
    "group",
    "task",
]


if not TYPE_CHECKING:  # a checker that saw it would accept any name

    def __getattr__(name: str) -> object:
        """Import a public name on its first use."""
        home = _HOME_OF.get(name)
        if home is None:
            message = f"module 'aioq' has no attribute {name!r}"
            raise AttributeError(message)
        value = getattr(import_module(home), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
