"""The runtime of one worker process: services that do not know each other."""

from aioq.worker.worker import Worker

__all__ = ["Worker"]
