"""The types that arguments may have, with values of each, for the round trip over the wire."""

import enum
import math
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any, Literal, NamedTuple, NewType, TypedDict
from uuid import UUID

import msgspec
import pydantic
from hypothesis import strategies as st


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclass
class Point:
    x: int
    y: float = 0.0
    tags: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Line:
    start: Point
    end: Point | None
    colour: Colour = Colour.RED


class Customer(msgspec.Struct):
    id: UUID
    born: date | None
    parent: "Customer | None" = None


class Circle(msgspec.Struct, tag=True):
    radius: Decimal


class Square(msgspec.Struct, tag=True):
    side: int


class Options(TypedDict, total=False):
    colour: Colour
    depth: int


class Pair(NamedTuple):
    left: bytes
    right: datetime


class Address(pydantic.BaseModel):
    street: str
    since: datetime
    level: Level = Level.LOW


class Person(pydantic.BaseModel):
    name: str
    ids: set[UUID]
    addresses: list[Address] = []
    share: Decimal | None = None


@dataclass
class Order:
    """Of msgspec's world, with a model of pydantic's inside."""

    buyer: Person
    points: dict[str, Point] = field(default_factory=dict[str, Point])


OrderNumber = NewType("OrderNumber", int)

INTEGERS = st.integers(-(2**63), 2**64 - 1)
FLOATS = st.floats(allow_nan=False)
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
MOMENTS = st.datetimes(timezones=st.just(UTC))
SPANS = st.timedeltas(timedelta(days=-100_000), timedelta(days=100_000))
DECIMALS = st.decimals(allow_nan=False)
POINTS = st.builds(Point, INTEGERS, FLOATS, st.frozensets(TEXT, max_size=3))
PEOPLE = st.builds(
    Person,
    name=TEXT,
    ids=st.sets(st.uuids(), max_size=3),
    addresses=st.lists(
        st.builds(Address, street=TEXT, since=MOMENTS, level=st.sampled_from(Level)), max_size=2
    ),
    share=st.none() | st.decimals(allow_nan=False, allow_infinity=False),
)
CUSTOMERS: st.SearchStrategy[Customer] = st.deferred(
    lambda: st.builds(Customer, st.uuids(), st.none() | st.dates(), st.none() | CUSTOMERS)
)

LEAVES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (int, INTEGERS),
    (str, TEXT),
    (bytes, st.binary(max_size=40)),
    (bool, st.booleans()),
    (float, FLOATS),
    (None, st.none()),
    (datetime, MOMENTS | st.datetimes()),
    (date, st.dates()),
    (time, st.times()),
    (timedelta, SPANS),
    (UUID, st.uuids()),
    (Decimal, DECIMALS),
    (Colour, st.sampled_from(Colour)),
    (Level, st.sampled_from(Level)),
    (Literal["a", 1, None], st.sampled_from(["a", 1, None])),
    (OrderNumber, INTEGERS),
    (PurePosixPath, st.sampled_from(["/", "a/b", "../c d"]).map(PurePosixPath)),
    (Point, POINTS),
    (Line, st.builds(Line, POINTS, st.none() | POINTS, st.sampled_from(Colour))),
    (Customer, CUSTOMERS),
    (Circle | Square, st.builds(Circle, DECIMALS) | st.builds(Square, INTEGERS)),
    (
        Options,
        st.fixed_dictionaries({}, optional={"colour": st.sampled_from(Colour), "depth": INTEGERS}),
    ),
    (Pair, st.builds(Pair, st.binary(max_size=9), MOMENTS)),
    (Address, st.builds(Address, street=TEXT, since=MOMENTS)),
    (Person, PEOPLE),
    (Order, st.builds(Order, PEOPLE, st.dictionaries(TEXT, POINTS, max_size=2))),
]
"""An annotation, and what it stands for."""
HASHABLE: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (int, INTEGERS),
    (str, TEXT),
    (bytes, st.binary(max_size=9)),
    (bool, st.booleans()),
    (float, FLOATS),
    (date, st.dates()),
    (UUID, st.uuids()),
    (Decimal, DECIMALS),
    (Colour, st.sampled_from(Colour)),
    (tuple[int, str], st.tuples(INTEGERS, TEXT)),
]
"""What may be in a set, or the key of a dict."""


def containers(
    leaf: tuple[Any, st.SearchStrategy[Any]], key: tuple[Any, st.SearchStrategy[Any]]
) -> list[tuple[Any, st.SearchStrategy[Any]]]:
    """Return the containers of one type, some with keys of another."""
    kind, values = leaf
    key_kind, keys = key
    return [
        (list[kind], st.lists(values, max_size=3)),
        (tuple[kind, ...], st.lists(values, max_size=3).map(tuple)),
        (tuple[kind, int], st.tuples(values, INTEGERS)),
        (dict[str, kind], st.dictionaries(TEXT, values, max_size=3)),
        (dict[key_kind, kind], st.dictionaries(keys, values, max_size=3)),
        (set[key_kind], st.sets(keys, max_size=3)),
        (frozenset[key_kind], st.frozensets(keys, max_size=3)),
        (list[list[kind]], st.lists(st.lists(values, max_size=2), max_size=2)),
        (kind | None if kind is not None else None, st.none() | values),
    ]


def typed_values() -> st.SearchStrategy[tuple[Any, Any]]:
    """Return an annotation, a leaf or a container of leaves, and a value of it."""

    def value_of(typed: tuple[Any, st.SearchStrategy[Any]]) -> st.SearchStrategy[tuple[Any, Any]]:
        return st.tuples(st.just(typed[0]), typed[1])

    leaves = st.sampled_from(LEAVES)
    inside = st.tuples(leaves, st.sampled_from(HASHABLE)).flatmap(
        lambda both: st.sampled_from(containers(*both))
    )
    return (leaves | inside).flatmap(value_of)


def same(left: object, right: object) -> bool:
    """Compare with types: 1 is not True and not 1.0, and -0.0 is not 0.0."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float) and isinstance(right, float):
        return left == right and math.copysign(1, left) == math.copysign(1, right)
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        ours: list[object] = list(left)  # pyright: ignore[reportUnknownArgumentType]
        theirs: list[object] = list(right)  # pyright: ignore[reportUnknownArgumentType]
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return left == right
