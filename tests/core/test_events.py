"""Steps and places in the stream of events: what is written is read, each state told once."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioq import ConfigurationError, JobState
from aioq.core import codec
from aioq.core.clock import from_ms
from aioq.core.events import (
    STATES,
    Life,
    Position,
    Step,
    from_entry,
    position_of,
    read_position,
    read_steps,
    update_of,
    write_steps,
)
from aioq.core.record import Progress

JOB_IDS = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="{}"), min_size=1
).map(str.encode)
LETTERS = st.sampled_from("".join(STATES))
POSITIONS = st.builds(
    Position,
    st.integers(0, 2**48),
    st.integers(0, 2**63),
    st.none() | st.integers(0, 1000),
)


@given(st.lists(st.tuples(LETTERS, JOB_IDS)))
def test_what_is_written_is_read_in_its_order(steps: list[tuple[str, bytes]]) -> None:
    read = read_steps([b"e", write_steps(steps)])

    assert [(step.letter, step.job_id) for step in read] == steps


@given(JOB_IDS, st.binary())
def test_progress_is_whatever_bytes_the_task_has_reported(job_id: bytes, data: bytes) -> None:
    assert read_steps([b"p", job_id + b" " + data]) == [Step("p", job_id, data)]


def test_progress_that_is_too_large_has_no_data() -> None:
    assert read_steps([b"p", b"a"]) == [Step("p", b"a", None)]


def test_what_a_newer_release_has_added_is_left_out() -> None:
    fields = [b"o", b"worker", b"e", b"\nq a \nNEW b c \ns a \n\xff d", b"z", b"?"]

    assert read_steps(fields) == [Step("q", b"a"), Step("s", b"a")]


@given(POSITIONS)
def test_a_position_is_its_text(position: Position) -> None:
    assert read_position(str(position)) == position


@pytest.mark.parametrize(
    "text", ["", "1", "1-", "-1", "1-2:", "1-2:x", "a-b", "1-2-3", "\u0661-\u0662", 5]
)
def test_what_is_no_position_is_refused_by_name(text: Any) -> None:  # noqa: ANN401 - what is wrong is meant
    with pytest.raises(ValueError, match="is no position") as caught:
        position_of(text)

    assert repr(text) in str(caught.value)


def test_a_moment_begins_with_its_first_entry() -> None:
    moment = datetime(2030, 1, 1, tzinfo=UTC)

    assert position_of(moment) == Position(1_893_456_000_000, 0, 0)


def test_what_happens_in_the_millisecond_of_a_moment_is_not_lost() -> None:
    moment = datetime(2030, 1, 1, microsecond=345_678, tzinfo=UTC)

    assert position_of(moment) == Position(1_893_456_000_345, 0, 0)


def test_a_naive_moment_means_what_the_timezone_of_the_settings_says() -> None:
    moment = datetime(2030, 1, 1, 1)  # noqa: DTZ001 - that is the point

    assert position_of(moment, timezone(timedelta(hours=1))) == Position(1_893_456_000_000, 0, 0)


def test_a_naive_moment_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no timezone"):
        position_of(datetime(2030, 1, 1))  # noqa: DTZ001 - that is the mistake


def test_each_step_knows_the_place_behind_it() -> None:
    entry, fields = Position(7, 1), [b"e", b"\nq a b \ns a"]
    read = list(from_entry(entry, fields))

    assert [str(at) for _, at in read] == ["7-1:1", "7-1:2", "7-1:3"]
    for step, at in read:
        assert at.steps is not None
        rest = list(from_entry(entry, fields, behind=at.steps))
        assert rest == read[at.steps :], step


def test_a_step_becomes_an_update() -> None:
    data = codec.encode_value((1, 4, "a quarter", dict[str, int]()))
    update = update_of(Step("p", b"a", data), Position(1000, 2, 3))

    assert (update.id, update.state, update.at) == ("a", JobState.PROGRESS, from_ms(1000))
    assert update.progress == Progress(1, 4, "a quarter")
    assert update.position == "1000-2:3"


@given(st.lists(st.tuples(st.sampled_from(JobState), st.booleans())))
def test_a_life_has_one_end_and_repeats_only_progress(said: list[tuple[JobState, bool]]) -> None:
    life = Life()
    told = [state for state, from_record in said if life.is_news(state, from_record=from_record)]

    assert not any(state.is_final for state in told[:-1])
    assert life.has_ended == any(state.is_final for state, _ in said)
    for state, following in pairwise(told):
        assert state is not following or state is JobState.PROGRESS
