"""From a composition to a flat plan of jobs; pure, and never recursive in the length of a workflow.

Each composition is compiled with what comes before it and gives an *output*: the jobs whose results
make its value, in the value's shape.  A job that takes an output waits for those jobs.  Where
several jobs would wait for the same many results, or one id must stand for them, a gather stands
between: it collects them on the server and never runs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias, cast

from aioq.core import codec, options
from aioq.core.errors import ConfigurationError
from aioq.core.inputs import Shape
from aioq.core.options import Call
from aioq.producer import new_job_id
from aioq.tasks import Composable, Signature
from aioq.tasks.composing import options_of
from aioq.workflow.compositions import Chain, Graph, Group

Value: TypeAlias = "Node | list[Value] | dict[str, Value]"

_FOR_ALL = ("queue", "priority", "expires", "headers", "unique")
"""Options of a composition that each of its jobs has that has none of its own."""
_FOR_FIRST = ("countdown", "eta")
"""Options of a composition that its first jobs have."""
GATHER = "aioq.group"
"""The task of a gather, which no worker ever sees."""


@dataclass(slots=True, eq=False)
class Node:
    """One job of a plan."""

    signature: Signature[Any] | None
    """None: it is a gather."""
    call: Call
    kind: str = "j"
    """See `workflows/plan.lua`."""
    inputs: "Sequence[Output]" = ()
    """What comes before its arguments; for a gather, what it gathers."""
    waits: "list[Node]" = field(default_factory=list["Node"])
    """Those it waits for, in the order in which their results are numbered."""
    job_id: str = field(default_factory=new_job_id)
    tells: list[str] = field(default_factory=list[str])
    """Words for those who wait for it."""

    @property
    def is_gather(self) -> bool:
        """Whether it gathers results and never runs."""
        return self.signature is None

    @property
    def needs(self) -> int:
        """What must be there before it begins; of a gather, its shape too."""
        return len(self.waits) + self.is_gather


class Output(NamedTuple):
    """What a composition gives to whatever comes after it."""

    value: Value
    also: tuple[Node, ...] = ()
    """Jobs that must have ended too, although nothing of theirs is in the value."""
    collects: bool = False
    """Whether errors stand in the value in the place of results."""

    @property
    def only(self) -> "Node | None":
        """The one job it stands for; None: there are more, or none."""
        return self.value if isinstance(self.value, Node) and not self.also else None


class Plan(NamedTuple):
    """Jobs that make a workflow."""

    nodes: list[Node]
    root: Node | None
    """The job whose end is that of the workflow; None: there is no job at all."""
    output: Output
    """What the workflow gives, as it was before one job stood for it."""


class Inherited(NamedTuple):
    """Options from the compositions around."""

    for_all: Mapping[str, Any]
    for_first: Mapping[str, Any]


NOTHING = Inherited({}, {})


def compile(composition: Composable[Any], args: tuple[Any, ...] = ()) -> Plan:  # noqa: A001 - the word
    """Compile a workflow.

    Args:
        composition: what to compile.
        args: come before the arguments of what comes first.

    Raises:
        ConfigurationError: an option has no meaning where it stands.
    """
    compiler = _Compiler(args)
    if composition.names:
        message = f"{composition!r} has after{composition.names}, which only nodes of a graph have"
        raise ConfigurationError(message)
    output = compiler.output(composition, (), NOTHING)
    if not compiler.nodes:
        return Plan([], None, output)
    root = output.only or compiler.gather(output)
    job_id = composition.call.job_id or root.call.job_id
    if job_id is not None:
        root.job_id = job_id
        root.call = _with(root.call, job_id=job_id)
    nodes = [node for node in compiler.nodes if node is not root]
    for node in nodes:
        if node.call.job_id is not None:
            message = (
                f"job_id={node.call.job_id!r} is given to {node.signature!r} inside a workflow; "
                "only the job of its result may be given one: workflow.set(job_id=...)"
            )
            raise ConfigurationError(message)
    return Plan([*nodes, root], root, output)


class _Compiler:
    def __init__(self, args: tuple[Any, ...]) -> None:
        self.nodes: list[Node] = []
        self._args = args

    def output(
        self, part: Composable[Any], inputs: Sequence[Output], inherited: Inherited
    ) -> Output:
        """Compile any composition, and what runs if it fails."""
        compiled = self._compile(part, inputs, inherited)
        if not part.errors or not _all_of([compiled]):
            return compiled
        node = compiled.only or self.gather(compiled)
        for signature in part.errors:
            cleanup = self._add(Node(signature, signature.call, "e", waits=[node]))
            node.tells.append(f"<{cleanup.job_id}")
        return Output(node)

    def gather(self, output: Output) -> Node:
        """Let one job stand for all of an output."""
        kind = "G" if output.collects else "g"
        waits = [*_nodes_in(output.value), *output.also]
        return self._add(Node(None, options.NO_OPTIONS, kind, [output], waits))

    def _compile(
        self, part: Composable[Any], inputs: Sequence[Output], inherited: Inherited
    ) -> Output:
        if isinstance(part, Signature):
            return Output(self._job(part, inputs, inherited))
        inherited = _inherited(part, inherited)
        if isinstance(part, Chain):
            return self._chain(part, inputs, inherited)
        if isinstance(part, Group):
            return self._group(cast("Group[Any]", part), inputs, inherited)
        return self._graph(cast("Graph", part), inputs, inherited)

    def _job(
        self, signature: Signature[Any], inputs: Sequence[Output], inherited: Inherited
    ) -> Node:
        first = inherited.for_first
        if signature.call.countdown is not None or signature.call.eta is not None:
            first = {}
        call = signature.call
        if first or inherited.for_all:
            call = _with(call, **{**inherited.for_all, **first, **options_of(call)})
        if not inputs:
            signature = signature.given(self._args)
        taken = () if signature.immutable else inputs
        waits = [node for output in taken for node in _nodes_in(output.value)]
        if signature.immutable:
            waits += [node for output in inputs for node in _nodes_in(output.value)]
        waits += [node for output in inputs for node in output.also]
        kind = "c" if any(output.collects for output in inputs) else "j"
        return self._add(Node(signature, call, kind, taken, waits))

    def _chain(self, chain: Chain[Any], inputs: Sequence[Output], inherited: Inherited) -> Output:
        output = Output([])
        for index, step in enumerate(chain.steps):
            _refuse_names(step)
            if index:
                inherited = Inherited(inherited.for_all, {})
                inputs = [self._shared(output, step)]
            output = self.output(step, inputs, inherited)
        return output

    def _group(self, group: Group[Any], inputs: Sequence[Output], inherited: Inherited) -> Output:
        members: list[Value] = []
        also: list[Node] = []
        collects = group.on_failure == "collect"
        for member in group.members:
            _refuse_names(member)
            output = self.output(member, inputs, inherited)
            # A member fails as one, and what one collects is no error of the group around it.
            several = output.only is None and _all_of([output])
            if output.collects or (collects and several):
                output = Output(self.gather(output))
            members.append(output.value)
            also += output.also
        if not group.members:
            also = _all_of(inputs)
        made = Output(members, tuple(also), collects)
        return made if group.members and _all_of([made]) else made._replace(collects=False)

    def _graph(self, graph: Graph, inputs: Sequence[Output], inherited: Inherited) -> Output:
        later = Inherited(inherited.for_all, {})
        takers: dict[str, int] = dict.fromkeys(graph.nodes, 1)  # the graph's own value takes each
        for node in graph.nodes.values():
            for name in node.names:
                takers[name] += node.heads or 1
        outputs: dict[str, Output] = {}
        for name in graph.order:
            node = graph.nodes[name]
            if node.names:
                before = [outputs[dependency] for dependency in node.names]
                output = self.output(node, before, later)
            else:
                output = self.output(node, inputs, inherited)
            outputs[name] = self._for(takers[name], output)
        also = [node for output in outputs.values() for node in output.also]
        if not graph.nodes:
            also = _all_of(inputs)
        return Output({name: outputs[name].value for name in graph.nodes}, tuple(also))

    def _shared(self, output: Output, step: Composable[Any]) -> Output:
        """Make an output ready for the step that takes it."""
        if isinstance(step, Signature):  # one job: it may take errors, and any number of results
            return output
        return self._for(step.heads or 1, output)

    def _for(self, takers: int, output: Output) -> Output:
        """Make an output ready for several jobs, none of which takes errors for results."""
        if output.collects or (takers > 1 and output.only is None and _all_of([output])):
            return Output(self.gather(output))
        return output

    def _add(self, node: Node) -> Node:
        self.nodes.append(node)
        return node


def link(nodes: Sequence[Node]) -> None:
    """Tell each job of a plan who waits for it; once, when the ids are settled."""
    for node in nodes:
        if node.kind != "e":
            for index, awaited in enumerate(node.waits):
                awaited.tells.append(f">{node.job_id}:{index}")


def shape_of(value: Value) -> Shape:
    """Describe a value without its jobs; see `core.inputs`."""
    if isinstance(value, Node):
        return value.job_id if value.is_gather else None
    if isinstance(value, dict):
        return {name: shape_of(part) for name, part in value.items()}
    shapes = [shape_of(part) for part in value]
    return shapes if any(shape is not None for shape in shapes) else len(shapes)


def payload_of(node: Node) -> bytes:
    """Return what a gather has in the place of a payload."""
    return codec.encode_value(shape_of(node.inputs[0].value))


def inputs_of(node: Node) -> Any:  # noqa: ANN401 - shapes, and True for what runs on an error
    """Return where the results go that a job waits for; see `codec.Payload`."""
    if node.kind == "e":
        return True
    return [shape_of(output.value) for output in node.inputs] or None


def converter(part: Composable[Any]) -> Callable[[Any], Any]:
    """Return what turns the plain value of a composition into the annotated types."""
    while isinstance(part, Chain):
        part = part.steps[-1]
    if isinstance(part, Group):
        members = [converter(member) for member in cast("Group[Any]", part).members]
        return lambda values: [
            value if isinstance(value, Exception) else convert(value)
            for convert, value in zip(members, values, strict=True)
        ]
    if isinstance(part, Graph):
        nodes = {name: converter(node) for name, node in part.nodes.items()}
        return lambda values: {name: convert(values[name]) for name, convert in nodes.items()}
    return cast("Signature[Any]", part).convert


def _nodes_in(value: Value) -> Iterator[Node]:
    if isinstance(value, Node):
        yield value
        return
    for part in value.values() if isinstance(value, dict) else value:
        yield from _nodes_in(part)


def _all_of(outputs: Sequence[Output]) -> list[Node]:
    found = [node for output in outputs for node in _nodes_in(output.value)]
    return found + [node for output in outputs for node in output.also]


def _inherited(part: Composable[Any], outer: Inherited) -> Inherited:
    """Add the options of a composition to those from around it."""
    if part.call is options.NO_OPTIONS:
        return outer
    given = options_of(part.call)
    first = {name: given[name] for name in _FOR_FIRST if name in given}
    return Inherited(
        {**outer.for_all, **{name: given[name] for name in _FOR_ALL if name in given}},
        first or outer.for_first,
    )


def _with(call: Call, **changes: Any) -> Call:  # noqa: ANN401 - values of any option
    return options.call({**options_of(call), **changes}, where="a workflow")


def _refuse_names(part: Composable[Any]) -> None:
    if part.names:
        message = f"{part!r} has after{part.names}, which only nodes of a graph have"
        raise ConfigurationError(message)
