"""The app: a registry of tasks, its settings, and the client side; it never imports the worker."""

from aioq.app.app import Aioq, task
from aioq.app.batching import batch_task

__all__ = ["Aioq", "batch_task", "task"]
