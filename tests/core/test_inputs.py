"""Where the results of other jobs go, and what the server puts around a payload."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioq.core import codec, frames, inputs
from aioq.core.errors import InvalidArguments, Revoked, TaskFailed
from aioq.core.inputs import GATHERED, GATHERED_VALUE, Shape
from tests.core.test_codec import COMPRESSIONS

SHAPES: st.SearchStrategy[Shape] = st.recursive(
    st.none() | st.integers(0, 5) | st.text(min_size=1, max_size=3),
    lambda parts: st.lists(parts, max_size=4) | st.dictionaries(st.text(max_size=3), parts),
    max_leaves=12,
)


def leaves(shape: Shape) -> Iterator[Shape]:
    """Name the leaves of a shape, in their order, one by one."""
    if isinstance(shape, int):
        yield from [None] * shape
    elif isinstance(shape, list):
        for part in shape:
            yield from leaves(part)
    elif isinstance(shape, dict):
        for part in shape.values():
            yield from leaves(part)
    else:
        yield shape


@given(SHAPES)
def test_a_shape_takes_as_many_results_as_it_has_leaves_and_in_their_order(shape: Shape) -> None:
    wanted = list(leaves(shape))
    assert inputs.count(shape) == len(wanted)
    items: list[Any] = [GATHERED if leaf else at for at, leaf in enumerate(wanted)]
    groups = {name: f"value of {name}" for name in wanted if isinstance(name, str)}
    rest = iter(items)
    value = inputs.fill(shape, rest, groups)
    assert list(rest) == []
    assert flattened(value) == [
        groups[leaf] if isinstance(leaf, str) else at for at, leaf in enumerate(wanted)
    ]
    assert inputs.groups_in(shape, iter(items)) == [leaf for leaf in wanted if leaf]


def flattened(value: Any) -> list[Any]:  # noqa: ANN401 - a value of any shape
    if isinstance(value, dict):
        return [each for part in value.values() for each in flattened(part)]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list):
        return [each for part in value for each in flattened(part)]  # pyright: ignore[reportUnknownVariableType]
    return [value]


@given(SHAPES)
def test_a_shape_survives_its_way(shape: Shape) -> None:
    assert codec.decode_value(codec.encode_value(shape)) == shape


def test_a_group_that_failed_is_its_error_and_is_not_read() -> None:
    error = TaskFailed("ValueError", "no")
    assert inputs.groups_in(["a", "b"], iter([error, GATHERED])) == ["b"]
    assert inputs.fill(["a", "b"], iter([error, GATHERED]), {"b": [1]}) == [error, [1]]


def test_what_became_of_a_job_is_a_value_or_an_error() -> None:
    assert inputs.decode(b"c" + codec.encode_value([1])) == [1]
    assert inputs.decode(b"c") is None, "its result was ignored"
    assert inputs.decode(b"c" + GATHERED_VALUE) is GATHERED
    failed = inputs.decode(b"f" + codec.encode_error(ValueError("no")))
    assert (failed.exc_type, repr(failed.__cause__)) == ("ValueError", "ValueError('no')")
    revoked = inputs.decode(b"xrevoked")
    assert isinstance(revoked, Revoked)
    assert str(revoked) == "it was revoked: on request"


@given(st.binary(max_size=40), st.lists(st.binary(max_size=40), max_size=5))
def test_a_frame_gives_back_what_is_in_it(payload: bytes, items: list[bytes]) -> None:
    assert frames.unframe(frames.frame(payload, items)) == (payload, items)
    assert frames.unframe(b"J" + payload) == (payload, None)


@given(st.binary(max_size=40))
def test_a_damaged_frame_is_told_as_a_damaged_payload(rest: bytes) -> None:
    try:
        frames.unframe(b"I" + rest)
    except InvalidArguments as error:
        assert str(error).startswith("the payload is damaged")


def test_a_payload_in_a_frame_is_read_as_it_was_sent() -> None:
    payload = codec.encode_payload((1,), {"a": 2}, None, task="t")
    for framed in (frames.frame(payload, [b"c\x01"]), b"J" + payload):
        assert codec.decode_payload(framed) == codec.Payload([1], {"a": 2})


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("headers", [None, {"h": 1}])
@pytest.mark.parametrize("kwargs", [{}, {"k": "x" * 50}])
def test_what_a_workflow_adds_to_a_payload_changes_nothing_else(
    compression: codec.Compression | None, headers: dict[str, Any] | None, kwargs: dict[str, Any]
) -> None:
    sent = codec.encode_payload(
        (1, [2]), kwargs, headers, task="t", compression=compression, threshold=0
    )
    more = codec.extended(sent, inputs=[None, 3], mapped=2)
    read = codec.decode_payload(more)
    assert read == codec.Payload([1, [2]], kwargs, headers or {}, [None, 3], 2)
    assert more[:1] != codec.USUAL
    assert more[1] == sent[1]


@pytest.mark.parametrize("framed", [b"J", b"JJ\x01", b"J" * 9, b"J\x00\x00", b"I\x00\x00\x00\x01J"])
def test_a_frame_around_no_payload_is_damaged(framed: bytes) -> None:
    with pytest.raises(InvalidArguments, match="the payload is damaged"):
        codec.decode_payload(framed)


def test_a_newer_payload_in_a_frame_is_newer() -> None:
    with pytest.raises(codec.NewerPayload, match="has format 9"):
        codec.decode_payload(b"J\x09\x00\x90")


def test_a_mapped_call_without_items_is_damaged() -> None:
    with pytest.raises(InvalidArguments, match="no items"):
        inputs.calls(codec.Payload([], mapped=1))


def test_errors_are_values_too() -> None:
    values = [TaskFailed("ValueError", "no", "trace"), Revoked("on request"), 1]
    failed, revoked, one = codec.decode_value(codec.encode_value(values))
    assert (failed.exc_type, failed.exc_message, failed.traceback) == ("ValueError", "no", "trace")
    assert (type(revoked), str(revoked), one) == (Revoked, "on request", 1)


def test_the_items_of_a_mapped_call_are_calls_with_what_stands_before_them() -> None:
    payload = codec.Payload([0, [[1, 2], [3]]], {"k": 1}, mapped=2)
    assert [(call.args, call.kwargs) for call in inputs.calls(payload)] == [
        ([0, 1, 2], {"k": 1}),
        ([0, 3], {"k": 1}),
    ]
    payload.mapped = 1
    assert [call.args for call in inputs.calls(payload)] == [[0, [1, 2]], [0, [3]]]
