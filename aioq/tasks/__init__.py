"""Tasks, and calls of them that have not been sent yet."""

from aioq.tasks.home import Home
from aioq.tasks.marking import coroutine_function
from aioq.tasks.signature import Signature
from aioq.tasks.task import AsyncTask, SyncTask, Task, default_name

__all__ = [
    "AsyncTask",
    "Home",
    "Signature",
    "SyncTask",
    "Task",
    "coroutine_function",
    "default_name",
]
