"""What a workflow is made of, as values: nothing here is sent.

A chain takes the steps one after the other, a group side by side; a chord is a chain of a group and
what takes its results; a graph names its nodes and says which come after which.  Each may stand
where a signature may.
"""

from collections.abc import Coroutine, Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, cast, overload

from aioq.core import options
from aioq.core.errors import ConfigurationError
from aioq.core.options import CallOptions
from aioq.tasks import Composable, Home, Signature

if TYPE_CHECKING:
    from aioq.workflow.handles import GroupWorkflow, Workflow

R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")
C = TypeVar("C", bound=Composable[Any])

DEEPEST = 100
"""Compositions inside one another; a chain may have any number of steps."""
OnFailure = Literal["fail", "collect"]


class Composition(Composable[R_co]):
    """Several calls that belong together."""

    __slots__ = ("_depth", "_heads", "_parts")

    def __init__(self, parts: Sequence[Composable[Any]], *, heads: int, deepest: int) -> None:
        super().__init__(options.NO_OPTIONS)
        self._parts = parts
        self._heads = heads
        self._depth = 1 + deepest
        if self._depth > DEEPEST:
            message = (
                f"a workflow has more than {DEEPEST} compositions inside one another; put steps "
                "that follow each other into one chain"
            )
            raise ConfigurationError(message)

    @property
    def heads(self) -> int:
        """How many jobs take what comes before it; 0 where there are none, as in an empty group."""
        return self._heads

    @property
    def depth(self) -> int:
        """How many compositions are inside one another."""
        return self._depth

    @property
    def parts(self) -> Sequence[Composable[Any]]:
        """What it is made of."""
        return self._parts

    if TYPE_CHECKING:

        def enqueue(self, *args: object) -> Coroutine[Any, Any, Workflow[R_co]]:
            """Make all of its jobs; see `Composable.enqueue`."""
            ...

        def delay(self, *args: object) -> Coroutine[Any, Any, Workflow[R_co]]:
            """Celery's spelling of `enqueue`."""
            ...

        def apply_async(
            self, args: Iterable[object] = (), **given: Unpack[CallOptions]
        ) -> Coroutine[Any, Any, Workflow[R_co]]:
            """Celery's spelling of `set(...).enqueue(...)`."""
            ...

        def enqueue_sync(self, *args: object) -> Workflow[R_co]:
            """`enqueue` from plain sync code."""
            ...


class Chain(Composition[R_co]):
    """Steps one after the other: the result of each comes first in the arguments of the next."""

    __slots__ = ("steps",)

    def __init__(self, steps: tuple[Composable[Any], ...], *, heads: int, deepest: int) -> None:
        super().__init__(steps, heads=heads, deepest=deepest)
        self.steps: tuple[Composable[Any], ...] = steps

    def __repr__(self) -> str:
        return f"<Chain of {len(self.steps)} steps, from {self.steps[0]!r}>"


class Group(Composition[list[T]]):
    """Members side by side; its result is the list of theirs, in their order."""

    __slots__ = ("members", "on_failure")

    def __init__(self, members: tuple[Composable[Any], ...], on_failure: OnFailure) -> None:
        # A member that is an empty group counts too: what comes after waits in its place.
        heads = sum(member.heads or 1 for member in members)
        super().__init__(members, heads=heads, deepest=_deepest(members))
        self.members: tuple[Composable[Any], ...] = members
        self.on_failure: OnFailure = on_failure

    def __repr__(self) -> str:
        return f"<Group of {len(self.members)} members>"

    if TYPE_CHECKING:

        def enqueue(self, *args: object) -> Coroutine[Any, Any, GroupWorkflow[T]]:
            """Make all of its jobs; see `Composable.enqueue`."""
            ...

        def delay(self, *args: object) -> Coroutine[Any, Any, GroupWorkflow[T]]:
            """Celery's spelling of `enqueue`."""
            ...

        def apply_async(
            self, args: Iterable[object] = (), **given: Unpack[CallOptions]
        ) -> Coroutine[Any, Any, GroupWorkflow[T]]:
            """Celery's spelling of `set(...).enqueue(...)`."""
            ...

        def enqueue_sync(self, *args: object) -> GroupWorkflow[T]:
            """`enqueue` from plain sync code."""
            ...


class Graph(Composition[dict[str, Any]]):
    """Nodes that say what they come after; its result is a dict of theirs."""

    __slots__ = ("nodes", "order")

    def __init__(self, nodes: dict[str, Composable[Any]]) -> None:
        roots = [node for node in nodes.values() if not node.names]
        heads = sum(node.heads or 1 for node in roots)
        parts = tuple(nodes.values())
        super().__init__(parts, heads=heads, deepest=_deepest(parts))
        self.nodes: dict[str, Composable[Any]] = nodes
        self.order: tuple[str, ...] = _in_order(nodes)
        """The names, each after those that it comes after."""

    def __repr__(self) -> str:
        return f"<Graph of {', '.join(self.nodes) or 'nothing'}>"


@overload
def chain(step: C, /) -> C: ...
@overload
def chain(*steps: *tuple[*tuple[Composable[Any], ...], Composable[T]]) -> Chain[T]: ...
@overload
def chain(steps: Iterable[Composable[T]], /) -> Chain[T]: ...
def chain(*steps: Any) -> Any:
    """Return a chain of these steps, or of those in one iterable; of one step, that step.

    The result of each step comes first in the arguments of the next; a group gives a list, so what
    follows it is a chord.  The chain's result is that of its last step.

    Raises:
        ValueError: there is no step.
    """
    found = _composables(steps, "chain")
    if not found:
        message = "chain() is empty: it has at least one step, whose result is that of the chain"
        raise ValueError(message)
    return found[0] if len(found) == 1 else _chain(found)


def joined(first: Composable[Any], second: Composable[T]) -> Chain[T]:
    """Return the chain of two; see `chain`.  One more step costs no look at those before it."""
    if not _is_bare(first) or _is_bare(second):
        return _chain((first, second))
    chain = cast("Chain[Any]", first)
    heads, deepest = chain.heads or second.heads, max(chain.depth - 1, second.depth)
    return Chain((*chain.steps, second), heads=heads, deepest=deepest)


@overload
def group(*members: Composable[T], on_failure: OnFailure = ...) -> Group[T]: ...
@overload
def group(members: Iterable[Composable[T]], /, *, on_failure: OnFailure = ...) -> Group[T]: ...
def group(*members: Any, on_failure: OnFailure = "fail") -> Any:
    """Return a group of these members, or of those in one iterable; it may be empty.

    Args:
        *members: run side by side.
        on_failure: "fail": a member that fails ends the group as FAILURE, at once, and the others
            go on.  "collect": the group waits for all, and in the place of a failed member's result
            stands its `TaskFailed`, or `Revoked`.
    """
    if on_failure not in {"fail", "collect"}:
        message = f'group(on_failure={on_failure!r}) is wrong: it is "fail" or "collect"'
        raise ConfigurationError(message)
    return Group[Any](_composables(members, "group"), on_failure)


def chord(
    header: Iterable[Composable[Any]] | Group[Any], body: Composable[T] | None = None
) -> Chain[T]:
    """Return a chord: the body takes the list of the header's results; it is exactly one job.

    Args:
        header: what runs first, side by side; a group, or what makes one.
        body: what comes then.
    """
    if body is None:
        message = "chord() takes its body too, and `.enqueue` sends it: chord([...], body.s())"
        raise TypeError(message)
    first = header if isinstance(header, Group) else group(header)
    (then,) = _composables((body,), "chord")
    return _chain((first, then))


def graph(nodes: Mapping[str, Composable[Any]], *, home: Home | None = None) -> Graph:
    """Return a graph of nodes by their names; see `Aioq.graph`."""
    for name, node in nodes.items():
        if not isinstance(cast("object", name), str):
            raise TypeError(f"graph(): the name of a node is text, not {name!r}")
        if not isinstance(cast("object", node), Composable):
            message = f"graph(): the node {name!r} is a signature or a composition, not {node!r}"
            raise TypeError(message)
    made = Graph(dict(nodes))
    if home is not None:
        _require_home(made, home)
    return made


def _require_home(part: Composable[Any], home: Home) -> None:
    """Check that all tasks are of one app.

    Raises:
        ConfigurationError: naming one that is not.
    """
    for inner in (*part.parts, *part.errors):
        _require_home(inner, home)
    if isinstance(part, Signature) and part.task.home is not home:
        message = (
            f"graph(): task {part.task.name} belongs to another app; a workflow's tasks are all of "
            "one app"
        )
        raise ConfigurationError(message)


def _chain(steps: Iterable[Composable[Any]]) -> Chain[Any]:
    """Make one chain of steps, and of those of chains among them that have nothing of their own."""
    flat: list[Composable[Any]] = []
    for step in steps:
        flat += cast("Chain[Any]", step).steps if _is_bare(step) else (step,)
    heads = next((step.heads for step in flat if step.heads), 0)
    return Chain(tuple(flat), heads=heads, deepest=_deepest(flat))


def _is_bare(step: Composable[Any]) -> bool:
    """Whether it is a chain that has nothing of its own but its steps."""
    is_plain = step.call is options.NO_OPTIONS and not step.errors and not step.names
    return is_plain and isinstance(step, Chain)


def _deepest(parts: Iterable[Composable[Any]]) -> int:
    return max((part.depth for part in parts), default=0)


def _composables(given: tuple[Any, ...], what: str) -> tuple[Composable[Any], ...]:
    if len(given) == 1 and not isinstance(given[0], Composable) and isinstance(given[0], Iterable):
        given = tuple(cast("Iterable[Any]", given[0]))
    for each in given:
        if not isinstance(each, Composable):
            message = f"{what}() takes signatures and compositions, such as task.s(1); not {each!r}"
            raise TypeError(message)
    return given


def _in_order(nodes: Mapping[str, Composable[Any]]) -> tuple[str, ...]:
    """Sort the names so that each comes after those that it depends on.

    Raises:
        ConfigurationError: a name is unknown, or nodes depend on each other in a circle.
    """
    for name, node in nodes.items():
        for dependency in node.names:
            if dependency not in nodes:
                hint = options.unknown("node", dependency, tuple(nodes))
                raise ConfigurationError(f"graph(): {name!r} comes after an {hint}")
    try:
        order = TopologicalSorter({name: node.names for name, node in nodes.items()}).static_order()
        return tuple(order)
    except CycleError as error:
        cycle = " after ".join(repr(name) for name in reversed(error.args[1]))
        message = (
            f"graph(): nodes come after each other in a circle: {cycle}; leave one of them out"
        )
        raise ConfigurationError(message) from None
