"""Random workflows, and what is to be true of their jobs whatever is done in whatever order.

Nothing here knows how the server does it: from what is seen of the jobs after each step it follows
what must not have happened, and, once nothing is left over for later calls, what must have.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from aioq.broker.plans import NewNode

GATHERED = b"\xd4\x67\x00"
ALIVE = {"q", "d", "p", "r"}
ENDED = {"c", "f", "x"}
GONE = ""


class Seen(NamedTuple):
    """What is seen of a job."""

    state: str
    value: bytes
    """What it ended with."""
    has_payload: bool


@dataclass
class Node:
    """One job of a workflow."""

    id: str
    kind: str
    deps: list[str]
    """Those it waits for, in order; of a job for errors, the one whose error it takes."""
    due: str = ""
    expires: str = ""
    lane: str = "default:5"
    state: str = GONE
    was_made: bool = False
    has_begun: bool = False
    ends: list[bytes] = field(default_factory=list[bytes])
    """Each end that was seen of it: letter and value."""

    @property
    def collects(self) -> bool:
        """Whether it takes errors for results."""
        return self.kind in {"G", "c", "e"}

    def has_ended_as(self, letter: str) -> bool:
        """Tell whether it has ever ended so."""
        return any(end[:1] == letter.encode() for end in self.ends)


class Flow:
    """One workflow."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = {node.id: node for node in nodes}
        self.root = nodes[-1].id
        self.is_open = True
        """Whether it may have begun: its only part, or its seal, was sent."""

    def new_nodes(self) -> list[NewNode]:
        """Describe the jobs for the server."""
        words: dict[str, list[str]] = {name: [] for name in self.nodes}
        for node in self.nodes.values():
            for index, dep in enumerate(node.deps):
                words[dep].append(f"<{node.id}" if node.kind == "e" else f">{node.id}:{index}")
        return [
            NewNode(
                node.id,
                node.lane,
                "aioq.group" if node.kind in "gG" else "t",
                node.due,
                node.expires,
                "",
                f"<{node.id}>".encode(),
                len(node.deps) + (node.kind in "gG"),
                " ".join(words[node.id]),
                node.kind,
            )
            for node in self.nodes.values()
        ]

    def observe(self, seen: Mapping[str, Seen], *, quiet: bool) -> None:
        """Compare what is seen with what was seen before.

        Args:
            seen: what is seen of each job.
            quiet: nothing is left over for later calls.
        """
        before = {name: node.state for name, node in self.nodes.items()}
        for name, node in self.nodes.items():
            node.state = seen[name].state
            node.was_made |= node.state != GONE
            if node.state in ENDED and before[name] != node.state:
                node.ends.append(node.state.encode() + seen[name].value)
        for name, node in self.nodes.items():
            self._compare(node, before[name], seen[name])
        if quiet and self.is_open:
            for name, node in self.nodes.items():
                wrong = self._overdue(node, seen[name])
                assert wrong is None, f"{node}: {wrong}"

    def _compare(self, node: Node, before: str, seen: Seen) -> None:
        if before == GONE and node.state != GONE:
            assert not node.ends or node.state in ENDED, f"{node} was made again"
        if before in ALIVE | {"c", "x"}:
            assert node.state != "w", f"{node} waits again, and was {before}"
        began = node.state in ALIVE or (node.state == "c" and not node.has_begun)
        if began and not node.has_begun:
            node.has_begun = True
            # What takes errors for results may begin before: all that it waits for was revoked.
            assert self.is_open or (node.collects and node.deps), f"{node} begins before the seal"
            early = [dep for dep in node.deps if not self._is_enough(node, self.nodes[dep])]
            assert not early, f"{node} begins without {early}"
        if node.state == "f" and before != "f" and not node.has_begun:
            culprit = self.nodes[msgspec.msgpack.decode(seen.value)[1].split()[1]]
            has_failed = culprit.has_ended_as("f") or culprit.has_ended_as("x")
            assert has_failed, f"{node} names {culprit}"
            assert not node.collects, f"{node} takes errors"

    def _is_enough(self, node: Node, dep: Node) -> bool:
        if node.kind == "e":
            return dep.has_ended_as("f") or b"xexpired" in dep.ends
        return bool(dep.ends) if node.collects else dep.has_ended_as("c")

    def _overdue(self, node: Node, seen: Seen) -> str | None:
        """Return what should have happened to a job, and has not."""
        deps = [self.nodes[dep] for dep in node.deps]
        if node.state == GONE:
            has_ground = node.kind == "e" and deps[0].ends
            return None if has_ground else "it is gone"
        if node.state == "w":
            if all(self._is_enough(node, dep) for dep in deps):
                return "it hangs, and has all"
            if node.kind == "e" and deps[0].state in ENDED:
                return "it is not needed any more"
            if not node.collects and any(dep.state in {"f", "x"} for dep in deps):
                return "it hangs, and cannot begin"
        is_first = node.state == "f" and not node.has_begun and seen.has_payload
        if is_first and all(dep.state not in {"f", "x"} for dep in deps):
            return "it is dead, and those it waits for are not"
        return None

    def check_inputs(self, node: Node, items: Sequence[bytes]) -> None:
        """Check what a job has got from those it waited for."""
        assert len(items) == len(node.deps), (node, items)
        for dep, item in zip(node.deps, items, strict=True):
            assert item in self.nodes[dep].ends, f"{node} got {item} of {self.nodes[dep]}"
            assert node.collects or item[:1] == b"c", (node, item)

    def unfinished(self) -> Iterator[Node]:
        """Yield the jobs that have not ended."""
        yield from (node for node in self.nodes.values() if node.state not in ENDED | {GONE})
