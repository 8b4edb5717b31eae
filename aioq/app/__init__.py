"""The app: a registry of tasks, its settings, and the client side; it never imports the worker."""

from aioq.app.app import Aioq, task

__all__ = ["Aioq", "task"]
