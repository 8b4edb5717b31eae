"""Values on the command line: arguments, durations and moments in, results out."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import click
import pytest

from aioq.cli.values import Duration, Moment, plain, read_arguments, show


@dataclass
class Point:
    x: int
    y: int


@pytest.mark.parametrize(
    ("words", "args", "kwargs"),
    [
        (("4", "-2", "1.5", "1e3"), [4, -2, 1.5, 1000.0], {}),
        (("true", "null", "[1, 2]", '{"a": 1}'), [True, None, [1, 2], {"a": 1}], {}),
        (("text", '"4"', "", "a b"), ["text", "4", "", "a b"], {}),
        (("x=4", "y=text", "z="), [], {"x": 4, "y": "text", "z": ""}),
        (("1", 'when={"at": "noon"}'), [1], {"when": {"at": "noon"}}),
        (("é=1", "2x=1", "a-b=1", "https://x/?q=1"), ["2x=1", "a-b=1", "https://x/?q=1"], {"é": 1}),
        (('"x=4"', "NaN", "Infinity", "01"), ["x=4", "NaN", "Infinity", "01"], {}),
    ],
)
def test_arguments_are_json_where_they_parse_and_text_elsewhere(
    words: tuple[str, ...], args: list[Any], kwargs: dict[str, Any]
) -> None:
    assert read_arguments(words) == (args, kwargs)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10s", 10),
        ("5m", 300),
        ("2h", 7200),
        ("7d", 604_800),
        ("250ms", 0.25),
        ("90", 90),
        ("1.5h", 5400),
        (".5", 0.5),
        (" 3 s ", 3),
        ("0", 0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert Duration().convert(text, None, None) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "-1", "5 parsecs", "1h30m", "1e3", "inf"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(click.BadParameter, match="no duration"):
        Duration().convert(text, None, None)


def test_moments() -> None:
    noon = datetime(2030, 1, 31, 12, tzinfo=UTC)

    assert Moment().convert("2030-01-31T12:00:00Z", None, None) == noon
    assert Moment().convert("2030-01-31T13:00+01:00", None, None) == noon


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3"),
        ("é", '"é"'),
        (None, "null"),
        ([1, (2,)], "[1, [2]]"),
        ({"a": Point(1, 2)}, '{"a": {"x": 1, "y": 2}}'),
        (datetime(2030, 1, 1, tzinfo=UTC), '"2030-01-01T00:00:00Z"'),
        (UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (b"raw", "b'raw'"),
        (float("nan"), "nan"),
        ({(1, 2): 3}, "{(1, 2): 3}"),
    ],
)
def test_results_are_json_where_json_can_and_python_elsewhere(value: object, text: str) -> None:
    assert show(value) == text


def test_a_part_of_a_document_that_json_cannot_write_is_its_text() -> None:
    assert plain([1, 2]) == [1, 2]
    assert plain(b"raw") == "b'raw'"
