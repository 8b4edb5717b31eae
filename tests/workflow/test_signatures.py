"""Signatures and compositions as values, and what is wrong with them at the call."""

from typing import Any, cast

import pytest

from aioq import Aioq, ConfigurationError, Signature, chain, chord, group
from aioq.workflow import Chain, Group

app = Aioq("redis://nowhere", name="signatures")
other_app = Aioq("redis://nowhere", name="other")


@app.task
async def add(x: int, y: int = 0) -> int:
    return x + y


@app.task
async def total(numbers: list[int]) -> int:
    return sum(numbers)


@other_app.task
async def foreign() -> None: ...


def test_a_signature_is_never_changed() -> None:
    before = add.s(1)
    repr_before = repr(before)
    after = before.set(queue="q").on_error(total.s([])).after("a")
    joined = before | total.s()
    assert repr(before) == repr_before
    assert (before.call.queue, before.errors, before.names) == (None, (), ())
    assert (after.call.queue, len(after.errors), after.names) == ("q", 1, ("a",))
    assert joined.steps[0] is before


def test_a_composition_is_never_changed() -> None:
    before = group(add.s(1), add.s(2))
    after = before.set(queue="q").on_error(total.s([]))
    assert (before.call.queue, before.errors) == (None, ())
    assert isinstance(after, Group)
    assert (after.call.queue, len(after.errors), after.members) == ("q", 1, before.members)


@pytest.mark.parametrize(
    "composition",
    [add.s(1), add.s(1) | add.s(2), group(add.s(1)), app.graph({"a": add.s(1)})],
    ids=["signature", "chain", "group", "graph"],
)
def test_calling_it_is_an_error_that_names_enqueue(
    composition: Signature[int] | Chain[int],
) -> None:
    with pytest.raises(TypeError, match=r"\.enqueue\(\)"):
        composition()


def test_a_chain_of_nothing_is_a_value_error_and_of_one_step_that_step() -> None:
    with pytest.raises(ValueError, match=r"chain\(\) is empty"):
        chain([])
    step = add.s(1)
    assert chain(step) is step
    assert chain([step]) is step


@pytest.mark.parametrize("wrong", [1, "add", [add.s(1), 2], add])
def test_what_is_no_signature_is_refused_by_name(wrong: object) -> None:
    with pytest.raises(TypeError, match=r"takes signatures and compositions"):
        group(cast("Any", wrong))
    with pytest.raises(TypeError):
        _ = add.s(1) | cast("Any", wrong)


def test_a_chord_without_its_body_is_an_error_that_says_how_to_write_it() -> None:
    with pytest.raises(TypeError, match=r"chord\(\[\.\.\.\], body\.s\(\)\)"):
        chord([add.s(1)])


def test_on_failure_is_one_of_two_words() -> None:
    with pytest.raises(ConfigurationError, match="on_failure='ignore'"):
        group(add.s(1), on_failure=cast("Any", "ignore"))


def test_what_runs_on_an_error_is_one_call_without_an_on_error_of_its_own() -> None:
    with pytest.raises(TypeError, match="on_error takes the signature of one task"):
        add.s(1).on_error(cast("Any", add.s(1) | add.s(2)))
    with pytest.raises(ValueError, match="has no on_error of its own"):
        add.s(1).on_error(add.s(1).on_error(add.s(2)))


def test_a_step_that_cannot_take_the_result_before_it_is_an_error_at_the_call() -> None:
    with pytest.raises(TypeError, match="too many positional arguments"):
        (add.s(1) | add.s(1, 2)).enqueue_sync()
    with pytest.raises(TypeError, match="missing a required argument"):
        (add.s(1) | cast("Any", add).si()).enqueue_sync()
    with pytest.raises(TypeError, match="too many positional arguments"):
        (add.s(1) | add.starmap([(1,), (1, 2)])).enqueue_sync()


def test_tasks_of_two_apps_are_an_error_at_the_call() -> None:
    with pytest.raises(ConfigurationError, match="belong to different apps"):
        group(add.s(1), foreign.s()).enqueue_sync()
    with pytest.raises(ConfigurationError, match=r"foreign belongs to another app"):
        app.graph({"a": group(add.s(1), foreign.s())})


def test_a_graph_with_an_unknown_dependency_or_a_circle_is_an_error_that_names_it() -> None:
    with pytest.raises(ConfigurationError, match=r"'b' comes after an unknown node 'aa'.*'a'"):
        app.graph({"a": add.s(1), "b": add.s().after("aa")})
    circle = r"in a circle: ('a' after 'b' after 'a'|'b' after 'a' after 'b')"
    with pytest.raises(ConfigurationError, match=circle):
        app.graph({"a": add.s().after("b"), "b": add.s().after("a")})
    with pytest.raises(ConfigurationError, match="in a circle: 'a' after 'a'"):
        app.graph({"a": add.s().after("a")})


def test_after_means_something_only_in_a_graph() -> None:
    with pytest.raises(ConfigurationError, match="only nodes of a graph have"):
        (add.s(1) | add.s().after("a")).enqueue_sync()
    with pytest.raises(ConfigurationError, match="in a workflow; leave it out here"):
        _ = app.enqueue_many([add.s(1).after("a")])


def test_an_on_error_is_never_dropped_in_silence() -> None:
    with pytest.raises(ConfigurationError, match="has on_error"):
        _ = app.enqueue_many([add.s(1).on_error(total.s([]))])


def test_a_workflow_is_no_signature_among_many() -> None:
    with pytest.raises(TypeError, match=r"await workflow\.enqueue\(\)"):
        _ = app.enqueue_many([cast("Any", add.s(1) | add.s(2))])


def test_a_workflow_that_nobody_awaits_is_named_in_the_warning() -> None:
    sending = (add.s(1) | add.s(2)).enqueue()
    assert sending.__qualname__.startswith("<Chain of 2 steps")
    sending.close()


def test_what_is_unique_is_no_part_of_a_workflow() -> None:
    with pytest.raises(ConfigurationError, match=r"is unique, .* set\(unique=False\)"):
        (add.s(1).set(unique=True) | add.s(2)).enqueue_sync()


def test_a_chunk_has_at_least_one_item() -> None:
    with pytest.raises(ValueError, match="at least one item"):
        add.chunks([(1, 2)], 0)
    assert len(add.chunks([(1, 2)] * 5, 2).members) == 3
