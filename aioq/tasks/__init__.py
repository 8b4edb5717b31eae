"""Tasks, and calls of them that have not been sent yet."""

from aioq.tasks.batch import AsyncBatchTask, BatchContext, BatchTask, Collecting, SyncBatchTask
from aioq.tasks.composing import Composable
from aioq.tasks.home import Home
from aioq.tasks.marking import coroutine_function
from aioq.tasks.signature import Signature
from aioq.tasks.stream import StreamTask
from aioq.tasks.task import AsyncTask, SyncTask, Task, default_name

__all__ = [
    "AsyncBatchTask",
    "AsyncTask",
    "BatchContext",
    "BatchTask",
    "Collecting",
    "Composable",
    "Home",
    "Signature",
    "StreamTask",
    "SyncBatchTask",
    "SyncTask",
    "Task",
    "coroutine_function",
    "default_name",
]
