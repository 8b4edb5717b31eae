"""Any nesting of compositions comes to what Celery's rules say, in whichever order its jobs end."""

from collections import Counter
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioq import Aioq, ConfigurationError, Settings, chain, chord, group
from aioq.broker.plans import NewNode
from aioq.core import codec
from aioq.core.inputs import fill
from aioq.tasks import Composable, Signature
from aioq.workflow import Chain, Graph, Group, compiling, graph, sending
from aioq.workflow.compositions import OnFailure
from tests.workflow.interpreter import Interpreter

app = Aioq("redis://nowhere", name="compiling")


@app.task
async def note(*values: object, tag: int, fails: bool = False, error: object = None) -> object:
    """Return its tag and its arguments; what the interpreter and the model do stands below."""
    raise NotImplementedError


class Failed(Exception):
    """What stands for an error in the model."""


FAILED = Failed()


def noted(*values: object, tag: int, fails: bool = False, error: object = None) -> object:
    if fails:
        raise ValueError(tag)
    return [tag, *values]


class Model:
    """Works a composition out directly."""

    def __init__(self) -> None:
        self.ran: Counter[int] = Counter()
        self.cleaned: Counter[int] = Counter()

    def value(self, part: Composable[Any], before: list[Any]) -> Any:  # noqa: ANN401 - results
        value = self._value(part, before)
        if value is FAILED:
            self.cleaned.update(each.kwargs["tag"] for each in part.errors)
        return value

    def _value(self, part: Composable[Any], before: list[Any]) -> Any:  # noqa: ANN401 - results
        if isinstance(part, Signature):
            return self._call(part, before)
        if isinstance(part, Chain):
            for step in part.steps:
                before = [self.value(step, before)]
            return before[0]
        if isinstance(part, Group):
            if not part.members:
                return FAILED if FAILED in before else []
            values = [self.value(member, before) for member in part.members]
            if part.on_failure == "collect":
                return ["an error" if value is FAILED else value for value in values]
            return FAILED if FAILED in values else values
        assert isinstance(part, Graph)
        return self._graph(part, before)

    def _call(self, part: Signature[Any], before: list[Any]) -> Any:  # noqa: ANN401 - results
        if FAILED in before:
            return FAILED
        args = [] if part.immutable else before
        self.ran[part.kwargs["tag"]] += 1
        try:
            if part.mapped == 1:
                return [noted(*args, item, **part.kwargs) for item in part.args[-1]]
            if part.mapped == 2:
                return [noted(*args, *item, **part.kwargs) for item in part.args[-1]]
            return noted(*args, *part.args, **part.kwargs)
        except ValueError:
            return FAILED

    def _graph(self, part: Graph, before: list[Any]) -> Any:  # noqa: ANN401 - results
        if not part.nodes:
            return FAILED if FAILED in before else {}
        values: dict[str, Any] = {}
        for name in part.order:
            names = part.nodes[name].names
            values[name] = self.value(part.nodes[name], [values[n] for n in names] or before)
        return FAILED if FAILED in values.values() else {n: values[n] for n in part.nodes}


@st.composite
def signatures(draw: st.DrawFn) -> Signature[Any]:
    tag = draw(st.integers(0, 2**60))  # its own, nearly always
    fails = draw(st.sampled_from([False] * 9 + [True]))
    kind = draw(st.sampled_from(["s"] * 6 + ["si", "map", "starmap"]))
    kwargs: dict[str, Any] = {"tag": tag, "fails": True} if fails else {"tag": tag}
    if kind == "si":
        return Signature(note, (7,), kwargs, immutable=True)
    if kind == "s":
        return Signature(note, draw(st.sampled_from([(), (1,)])), kwargs)
    items = [(1,), (2, 3)][: draw(st.integers(0, 2))]
    return Signature(note, (items,), kwargs, mapped=1 if kind == "map" else 2)


def compositions(parts: st.SearchStrategy[Composable[Any]]) -> st.SearchStrategy[Composable[Any]]:
    few = st.lists(parts, max_size=4)
    some: st.SearchStrategy[Composable[Any]] = st.one_of(
        st.lists(parts, min_size=1, max_size=4).map(chain_of),
        st.builds(group_of, few, FAILURES),
        st.builds(chord_of, few, parts),
        st.builds(collected_by, few, signatures()),
        graphs(parts),
    )
    return some


def chain_of(steps: list[Composable[Any]]) -> Composable[Any]:
    return chain(steps)


def group_of(members: list[Composable[Any]], on_failure: OnFailure) -> Composable[Any]:
    return group(members, on_failure=on_failure)


def chord_of(header: list[Composable[Any]], body: Composable[Any]) -> Composable[Any]:
    return chord(header, body)


def collected_by(members: list[Composable[Any]], body: Signature[Any]) -> Composable[Any]:
    return group(members, on_failure="collect") | body


FAILURES: st.SearchStrategy[OnFailure] = st.sampled_from(["fail", "fail", "collect"])


@st.composite
def graphs(draw: st.DrawFn, parts: st.SearchStrategy[Composable[Any]]) -> Graph:
    nodes: dict[str, Composable[Any]] = {}
    for name, part in zip("abcd", draw(st.lists(parts, max_size=4)), strict=False):
        after = draw(st.lists(st.sampled_from(sorted(nodes)), max_size=3)) if nodes else []
        nodes[name] = part.after(*after) if after else part
    return graph(dict(draw(st.permutations(sorted(nodes.items())))))


def with_cleanup(parts: st.SearchStrategy[Composable[Any]]) -> st.SearchStrategy[Composable[Any]]:
    cleanups = st.lists(st.integers(0, 2**60), max_size=1)

    def put(part: Composable[Any], tags: list[int]) -> Composable[Any]:
        for tag in tags:
            part = part.on_error(note.s(tag=tag))
        return part

    return st.builds(put, parts, cleanups)


WORKFLOWS = st.recursive(
    with_cleanup(signatures()), lambda parts: with_cleanup(compositions(parts)), max_leaves=12
)


def encoded(composition: Composable[Any], args: tuple[Any, ...] = ()) -> list[NewNode]:
    plan = compiling.compile(composition, args)
    return sending.encoded(plan, note.home.producer)


def plain(value: object) -> object:
    """Make values comparable: an error is an error, a tuple a list."""
    if isinstance(value, Exception):
        return "an error"
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in cast("list[object]", value)]
    if isinstance(value, dict):
        return {name: plain(each) for name, each in cast("dict[str, object]", value).items()}
    return value


@settings(max_examples=300)
@given(WORKFLOWS, st.integers(0, 2**32))
def test_a_workflow_comes_to_what_its_parts_say_in_whichever_order_they_end(
    workflow: Composable[Any], seed: int
) -> None:
    model = Model()
    expected = model.value(workflow, [])
    nodes = encoded(workflow)
    if not nodes:
        shape = compiling.shape_of(compiling.compile(workflow).output.value)
        assert expected == fill(shape, iter(()), {})
        return
    run = Interpreter(nodes, {note.name: noted}, seed)
    run.run()
    assert plain(run.value(nodes[-1].job_id)) == plain(expected)
    assert set(run.ends) | run.spared == set(run.nodes), "nobody waits for ever"
    kinds = {node.job_id: node.kind for node in nodes}
    tags = tags_of(nodes)
    cleaned = Counter(tags[job_id] for job_id in run.ran if kinds[job_id] == "e")
    ran = Counter(tags[job_id] for job_id in run.ran if kinds[job_id] != "e")
    assert (ran, cleaned) == (model.ran, model.cleaned)
    assert set(run.ran.values()) <= {1}


def tags_of(nodes: list[NewNode]) -> dict[str, int]:
    jobs = [node for node in nodes if node.kind not in {"g", "G"}]
    return {job.job_id: codec.decode_payload(job.payload).kwargs["tag"] for job in jobs}


def test_results_and_arguments_given_at_the_end_come_before_those_of_the_first_jobs() -> None:
    workflow = group(note.s(1, tag=1), note.si(2, tag=2) | note.s(3, tag=3))
    nodes = encoded(workflow, (9,))
    run = Interpreter(nodes, {note.name: noted}, seed=0)
    run.run()
    assert run.value(nodes[-1].job_id) == [[1, 9, 1], [3, [2, 2], 3]]


def tag_alone(*_values: object, tag: int) -> int:
    return tag


def test_a_chain_may_be_longer_than_any_stack_is_deep() -> None:
    workflow: Composable[Any] = note.s(tag=0)
    for tag in range(1, 10_000):
        workflow = workflow | note.s(tag=tag)
    nodes = encoded(workflow)
    assert len(nodes) == 10_000
    run = Interpreter(nodes, {note.name: tag_alone}, seed=0)
    run.run()
    assert run.value(nodes[-1].job_id) == 9_999


def test_compositions_that_are_too_deep_are_one_clear_error() -> None:
    workflow: Composable[Any] = note.s(tag=0)
    with pytest.raises(ConfigurationError, match="more than 100 compositions inside one another"):
        for _ in range(101):
            workflow = group(workflow)


def test_where_the_results_of_a_large_group_go_is_told_in_a_few_bytes() -> None:
    nodes = encoded(chord([note.s(tag=tag) for tag in range(2_000)], note.s(tag=-1)))
    assert len(nodes) == 2_001
    assert (nodes[-1].needs, len(nodes[-1].payload)) == (2_000, len(nodes[0].payload) + 6)
    assert {len(node.tells) for node in nodes[:1000]} <= {21, 22, 23}


def test_a_group_that_several_jobs_take_is_gathered_once() -> None:
    first, second = (group(note.s(tag=tag) for tag in range(10)) for _ in range(2))
    kinds = Counter(node.kind for node in encoded(first | second | note.s(tag=1)))
    assert kinds == {"j": 21, "g": 1}


def test_a_chain_in_a_chain_is_one_chain_unless_it_has_something_of_its_own() -> None:
    inner = note.s(tag=1) | note.s(tag=2)
    assert len((inner | inner).steps) == 4
    assert len((inner | inner.on_error(note.s(tag=3))).steps) == 3
    assert len((inner | inner.set(queue="other")).steps) == 3


def test_what_a_body_gets_counts_not_towards_the_size_of_its_arguments() -> None:
    """The shape of 2,000 groups is larger than `max_payload` here."""
    small = Aioq("redis://nowhere", name="small", settings=Settings(max_payload=1024))

    @small.task
    async def one(*values: object) -> int:
        return len(values)

    members = [group(one.s(), one.s()) for _ in range(2_000)]
    plan = compiling.compile(group(members) | one.s())
    assert len(sending.encoded(plan, one.home.producer)[-1].payload) > 1024


def test_an_option_of_a_composition_is_for_those_of_its_jobs_that_have_none_of_their_own() -> None:
    steps = note.s(tag=1) | note.s(tag=2).set(queue="own", countdown=7)
    nodes = encoded(steps.set(queue="all", priority=9, countdown=3) | note.s(tag=3))
    assert [(node.lane, node.due) for node in nodes] == [
        ("all:9", "+3000"),
        ("own:9", "+7000"),
        ("default:5", ""),
    ]


def test_an_id_is_given_to_the_job_of_the_result_and_to_no_other() -> None:
    steps = note.s(tag=1) | note.s(tag=2)
    assert encoded(steps.set(job_id="mine"))[-1].job_id == "mine"
    assert encoded(note.s(tag=1) | note.s(tag=2).set(job_id="mine"))[-1].job_id == "mine"
    assert encoded(group(note.s(tag=1)).set(job_id="mine"))[-1].job_id == "mine"
    with pytest.raises(ConfigurationError, match=r"job_id='other' .* inside a workflow"):
        encoded(note.s(tag=1).set(job_id="other") | note.s(tag=2))
