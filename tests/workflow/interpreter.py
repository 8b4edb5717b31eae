"""A plan run by hand: the server's part of a workflow in a few lines, and a worker for its jobs.

The worker's side is the real one: it reads inputs by the calls that a worker makes.
"""

import random
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar, cast

from aioq.broker import gathered
from aioq.broker.plans import Gathered, NewNode
from aioq.broker.steps import Steps
from aioq.core import codec, frames
from aioq.core.errors import DependencyFailed
from aioq.core.inputs import GATHERED_VALUE, calls

Function = Callable[..., Any]
T = TypeVar("T")


class Interpreter:
    """Runs a plan in any order that its dependencies leave."""

    def __init__(self, nodes: list[NewNode], functions: dict[str, Function], seed: int) -> None:
        self.nodes = {node.job_id: node for node in nodes}
        self.functions = functions
        self.random = random.Random(seed)
        self.gathered: dict[str, dict[int, bytes]] = {node.job_id: {} for node in nodes}
        self.ends: dict[str, tuple[str, bytes]] = {}
        self.spared: set[str] = set()
        self.ran: Counter[str] = Counter()
        self._ready: list[str] = []
        self._told: list[tuple[str, str, bytes]] = []

    def run(self) -> None:
        """Run it to its end."""
        for node in self.nodes.values():
            self._look_whether_complete(node)
        self._tell()
        while self._ready:
            at = self.random.randrange(len(self._ready))
            self._work(self.nodes[self._ready.pop(at)])
            self._tell()

    def value(self, job_id: str) -> Any:  # noqa: ANN401 - a result
        """Return the value that a job has ended with, as a client reads it."""
        state, value = self.ends[job_id]
        if state == "f":
            return codec.failure(value)
        if value == GATHERED_VALUE:
            return self._take(gathered.value_of("p", job_id))
        return codec.decode_value(value)

    def _look_whether_complete(self, node: NewNode) -> None:
        is_gather = node.kind in {"g", "G"}
        if len(self.gathered[node.job_id]) + is_gather < node.needs:
            return
        if is_gather:
            self._end(node.job_id, "c", GATHERED_VALUE)
        else:
            self._ready.append(node.job_id)

    def _work(self, node: NewNode) -> None:
        payload = self._take(gathered.payload_of("p", node.job_id, self._framed(node)))
        self.ran[node.job_id] += 1
        function = self.functions[node.task]
        if isinstance(payload.inputs, Exception):
            payload.kwargs["error"] = payload.inputs
        try:
            if payload.mapped:
                value = [function(*each.args, **each.kwargs) for each in calls(payload)]
            else:
                value = function(*payload.args, **payload.kwargs)
        except ValueError as error:
            self._end(node.job_id, "f", codec.encode_error(error))
        else:
            self._end(node.job_id, "c", codec.encode_value(value))

    def _framed(self, node: NewNode) -> bytes:
        if not node.needs:
            return node.payload
        items = self.gathered[node.job_id]
        assert sorted(items) == list(range(node.needs))
        if self.random.random() < 0.5:
            return b"J" + node.payload
        return frames.frame(node.payload, [items[index] for index in range(node.needs)])

    def _end(self, job_id: str, state: str, value: bytes) -> None:
        assert job_id not in self.ends
        self.ends[job_id] = state, value
        self._told += [(word, state, value) for word in self.nodes[job_id].tells.split()]

    def _tell(self) -> None:
        while self._told:
            word, state, value = self._told.pop()
            if word.startswith("<"):
                if state == "c":
                    self.spared.add(word[1:])
                else:
                    self._hear(self.nodes[word[1:]], 0, state, value)
            else:
                job_id, _, index = word[1:].rpartition(":")
                self._hear(self.nodes[job_id], int(index), state, value)

    def _hear(self, node: NewNode, index: int, state: str, value: bytes) -> None:
        if node.job_id in self.ends:
            return
        if state != "c" and node.kind not in {"G", "c", "e"}:
            error = DependencyFailed(codec.decode_error(value).exc_message)
            self._end(node.job_id, "f", codec.encode_error(error))
            return
        assert index not in self.gathered[node.job_id]
        self.gathered[node.job_id][index] = state.encode() + value
        self._look_whether_complete(node)

    def _take(self, steps: Steps[T]) -> T:
        reply: Gathered | None = None
        try:
            while True:
                names = cast("tuple[str, str, int, int]", steps.send(reply).arguments)
                _, job_id, first, count = names
                node, items = self.nodes[job_id], self.gathered[job_id]
                shape = node.payload if node.kind in {"g", "G"} else None
                reply = Gathered(shape, [items.get(n) for n in range(first, first + count)])
        except StopIteration as end:
            return end.value
