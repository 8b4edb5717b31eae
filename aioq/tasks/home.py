"""What tasks need of their app, and how a shared task finds its own."""

from collections.abc import Iterable, Mapping
from typing import Any
from weakref import WeakSet

from aioq.core import options
from aioq.core.errors import ConfigurationError
from aioq.core.options import TaskDefinition
from aioq.producer import Producer, by_relevance


class Home:
    """What a task needs of its app; the app makes one and lends it to its tasks."""

    def __init__(self, producer: Producer, modules: Iterable[str]) -> None:
        self.producer = producer
        self.modules: set[str] = set(modules)
        """Modules whose shared tasks belong to this app."""
        homes.add(self)

    def settle(
        self, given: Mapping[str, Any], default: Mapping[str, Any], *, where: str
    ) -> TaskDefinition:
        """Settle a task's options: its own, over `task_annotations`, over the defaults."""
        annotations = self.producer.settings.task_annotations
        merged = dict(default)
        for pattern in by_relevance(annotations, given["name"]):
            merged.update(annotations[pattern])
        return self.producer.route(options.define({**merged, **given}, where=where))


homes: WeakSet[Home] = WeakSet()
"""The homes of all apps of this process, among which a shared task finds its own."""


def find_home(name: str, module: str) -> Home:
    """Find the one app that includes the module of a shared task.

    Raises:
        ConfigurationError: no app does, or several do.
    """
    found = [home for home in homes if module in home.modules]
    if len(found) == 1:
        return found[0]
    if found:
        message = (
            f"the shared task {name} is included by {len(found)} apps; enqueue it through "
            f"one of them: app.send_task({name!r}, args=...)"
        )
    else:
        message = (
            f"the shared task {name} belongs to no app yet; include its module: "
            f"Aioq(include=[{module!r}]) or app.include({module!r})"
        )
    raise ConfigurationError(message)
