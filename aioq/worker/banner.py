"""What a worker says of itself when it starts: enough to see that it is the one that was meant."""

import os
import sys

import aioq
from aioq.broker.server import ServerFacts
from aioq.worker.worker import Worker

_MOST_TASKS = 15


def facts(
    worker: Worker, *, app: str, found: str, loop: str, server: ServerFacts | None
) -> dict[str, str]:
    """Return what to say, by name; the server must have been chosen.

    Args:
        worker: the one that is about to run.
        app: the reference of its app, such as `shop.tasks:app`.
        found: how the app was found.
        loop: which event loop runs it.
        server: what the server says of itself; None: it does not answer yet.
    """
    settings, client = worker.settings, worker.app.client
    return {
        "version": f"{aioq.__version__} (Python {sys.version.partition(' ')[0]})",
        "app": f"{app} ({found})",
        "server": f"{client.topology.url} ({worker.app.server.reason})",
        "persistence": server.persistence if server else "unknown: the server does not answer yet",
        "tasks": _tasks(sorted(worker.app.tasks)),
        "queues": _queues(worker),
        "concurrency": str(worker.concurrency),
        "lease": f"{settings.lease:g} s",
        "grace": f"{settings.grace:g} s",
        "loop": loop,
        "pid": str(os.getpid()),
    }


def render(facts: dict[str, str], title: str = "aioq worker") -> str:
    """Write the facts for people."""
    lines = [f"  {name:<12} {value}" for name, value in facts.items()]
    return "\n".join([title, *lines])


def _queues(worker: Worker) -> str:
    weights = worker.weights
    return ", ".join(f"{name}:{weights[name]}" if weights else name for name in worker.queues)


def _tasks(names: list[str]) -> str:
    if not names:
        return "none"
    shown = ", ".join(names[:_MOST_TASKS])
    rest = len(names) - _MOST_TASKS
    return f"{shown} and {rest} more ({len(names)} in all)" if rest > 0 else shown
