"""The scripts as files: each says what it takes, and its stub and the key table say the same."""

import inspect
import re
from collections.abc import Callable
from importlib.resources import files
from typing import Any, NamedTuple

import pytest

from aioq.broker import (
    fsck,
    keys,
    letters,
    limits,
    memos,
    plans,
    queues,
    schedules,
    scripts,
    streams,
)
from aioq.broker.resp import ReplyError
from aioq.broker.scripts import Call
from aioq.core.record import Stored
from tests.broker import place as reading
from tests.broker.calls import deliver, enqueue
from tests.broker.clock import Clock
from tests.broker.fsck import PATTERNS
from tests.broker.place import Place, broker_on, new_job

FOLDER = files("aioq.broker") / "lua"
IN_USE = sorted(file.name[:-4] for file in FOLDER.iterdir() if file.name.endswith(".lua"))
"""What workers and clients call."""
ASIDE = {
    "durable": memos,
    "fsck": fsck,
    "limits": limits,
    "queues": queues,
    "schedules": schedules,
    "streams": streams,
    "workflows": plans,
}
"""Folders of scripts, and where their stubs are."""
NAMES = [
    *IN_USE,
    *sorted(f"{name}/{file.name[:-4]}" for name in ASIDE for file in (FOLDER / name).iterdir()),
]
INCLUDES = sorted(file.name[:-4] for file in (FOLDER / "include").iterdir())
SOURCES = {name: scripts.read(name) for name in NAMES}
OWN = {name: (FOLDER / f"{name}.lua").read_text("utf-8") for name in NAMES} | {
    f"include/{name}": (FOLDER / "include" / f"{name}.lua").read_text("utf-8") for name in INCLUDES
}
LETTERS = {state.value for state in Stored} | {"v", "p"}
"""The values of the fields `s` and `m`, which stand beside them."""
ITEMS: dict[str, type[Any]] = {
    "durable/start": memos.NewChild,
    "enqueue": scripts.NewJob,
    "fsck/gates": fsck.Member,
    "fsck/keys": fsck.KeyCheck,
    "limits/acquire": limits.Ticket,
    "limits/declare": limits.Numbers,
    "register": scripts.Limit,
    "workflows/plan": plans.NewNode,
    "schedules/fire": schedules.Fire,
    "schedules/reconcile": schedules.Change,
    "settle": scripts.Settlement,
    "update": scripts.Update,
}
"""What the items of a batch are called in Python."""


_GOES_ON = re.compile(r"\n-- {12,}")
_ON_A_HASH = re.compile(r"call\('(HSET|HDEL|HINCRBY|HMGET|HGET)', ([^()]*)")


class Argument(NamedTuple):
    """One line of the ARGV section of a header."""

    name: str
    is_flag: bool
    each: int
    fields: list[str]
    """What the values of each item are, where the header names them."""


def code(source: str) -> str:
    """Return a script without its comments."""
    return re.sub(r"--.*", "", source)


def section(name: str, title: str) -> list[str]:
    """Return the items of a section of a script's header; one may go on in the next lines."""
    found = re.search(
        rf"^-- {title} +(.*\n(?:--  +.*\n)*)", OWN[name].split("\n\n")[0] + "\n", re.MULTILINE
    )
    assert found, f"{name}.lua has no {title} in its header"
    return [line.removeprefix("--").strip() for line in _GOES_ON.sub(" ", found[1]).splitlines()]


def arguments(name: str) -> list[Argument]:
    parsed: list[Argument] = []
    for line in section(name, "ARGV"):
        word, kind, rest = [*re.split(r" {2,}", line), "", ""][:3]
        each = re.fullmatch(r"(\d+) each", kind)
        fields = re.split(r",\s*", rest)
        parsed.append(Argument(word, kind == "0 or 1", int(each[1]) if each else 0, fields))
    return parsed


def stub(name: str) -> Callable[..., Call[Any]]:
    folder, _, short = name.rpartition("/")
    home = ASIDE[folder] if folder else letters if hasattr(letters, name) else scripts
    return getattr(home, short)


@pytest.mark.parametrize("name", NAMES)
def test_a_header_says_keys_arguments_and_reply_in_this_order(name: str) -> None:
    header = OWN[name].split("\n\n")[0]
    assert all(line.startswith("--") for line in header.splitlines())
    titles = re.findall(r"^-- ([A-Z]{4,5}) ", header, re.MULTILINE)
    assert titles == ["KEYS", "ARGV", "REPLY"]
    assert header.startswith("-- "), "the first line says what the script does"


@pytest.mark.parametrize("name", NAMES)
def test_the_only_key_is_the_anchor_that_says_which_node_of_a_cluster_is_asked(name: str) -> None:
    assert [line.split()[:2] for line in section(name, "KEYS")] == [["prefix", "anchor"]]
    assert set(re.findall(r"KEYS\[(\d+)\]", SOURCES[name])) == {"1"}


@pytest.mark.parametrize("name", NAMES)
def test_a_stub_takes_what_the_header_names_in_its_order(name: str) -> None:
    parameters = list(inspect.signature(stub(name)).parameters.values())
    assert (parameters[0].name, parameters[0].kind.name) == ("prefix", "POSITIONAL_OR_KEYWORD")
    assert {parameter.kind.name for parameter in parameters[1:]} <= {"KEYWORD_ONLY"}
    assert [parameter.name for parameter in parameters[1:]] == [
        argument.name for argument in arguments(name)
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_stub_sends_what_it_takes_in_the_order_of_the_header(name: str) -> None:
    given: dict[str, Any] = {}
    expected: list[object] = ["PREFIX"]
    for argument in arguments(name):
        if name in ITEMS and argument.each:
            fields = ITEMS[name]._fields
            items = [ITEMS[name](*(f"{each}-{field}" for field in fields)) for each in range(2)]
            given[argument.name] = items
            expected += [value for item in items for value in item]
        elif argument.each:
            given[argument.name] = [f"{argument.name}-1", f"{argument.name}-2"]
            expected += given[argument.name]
        else:
            given[argument.name] = True if argument.is_flag else argument.name.upper()
            expected.append(given[argument.name])
    call = stub(name)("PREFIX", **given)
    assert call.script == scripts.load(name)
    assert list(call.arguments) == expected


@pytest.mark.parametrize("name", ITEMS)
def test_the_items_of_a_batch_have_the_fields_of_the_header(name: str) -> None:
    [batch] = [argument for argument in arguments(name) if argument.each]
    assert list(ITEMS[name]._fields) == batch.fields
    assert batch.each == len(batch.fields)
    strides = {
        int(n) for n in re.findall(r"index \* (\d+)|STRIDE = \d+, (\d+)", OWN[name]) for n in n if n
    }
    assert strides == {batch.each}


def test_a_fetched_job_has_the_fields_of_the_header() -> None:
    reply = " ".join(section("fetch", "REPLY"))
    found = re.search(r"jobs +(\d+) each +(.*)", reply)
    assert found
    fields = re.split(r",\s*", re.sub(r" \(.*?\)", "", found[2]))
    renamed = {"due": "due_ms"}
    assert [renamed.get(field, field) for field in fields] == list(scripts.Delivery._fields)
    assert int(found[1]) == len(fields)


@pytest.mark.parametrize("name", NAMES)
def test_locals_are_bound_in_the_order_of_the_header(name: str) -> None:
    bound = re.findall(r"^local .*", code(OWN[name]), re.MULTILINE)
    positions = [int(n) for n in re.findall(r"ARGV\[(\d+)\]", "".join(bound))]
    assert positions == sorted(positions)


@pytest.mark.parametrize("name", OWN)
def test_a_script_is_short(name: str) -> None:
    assert len(OWN[name].splitlines()) <= 150


@pytest.mark.parametrize("name", INCLUDES)
def test_an_include_says_what_it_is_for_and_is_used(name: str) -> None:
    assert OWN[f"include/{name}"].startswith("-- ")
    assert any(f"-- include {name}\n" in source for source in OWN.values())


@pytest.mark.parametrize("name", NAMES)
def test_what_is_included_is_put_in(name: str) -> None:
    assert "-- include" not in SOURCES[name]


def test_time_is_asked_for_in_one_place() -> None:
    """Only so is there one clock, and one that tests can move."""
    asking = {name for name, source in OWN.items() if re.search(r"TIME|os\.|'NOW", code(source))}
    assert asking == {"include/now"}
    for name in NAMES:
        moved = code(Clock.load(name).source)
        assert not re.search(r"TIME|'\*'", moved), name
        assert ("now_ms" in moved) == ("'clock'" in moved), name


@pytest.mark.parametrize("name", NAMES)
def test_every_key_is_in_the_table(name: str) -> None:
    built = re.findall(r"prefix \.\. '([^']*)'( \.\. )?", code(SOURCES[name]))
    assert built
    for start, goes_on in built:
        key = start + ("VARIABLE:5 x" if goes_on else "")
        assert [kind.name for kind, pattern in PATTERNS.items() if pattern.fullmatch(key)], key


def test_every_key_of_the_table_is_used() -> None:
    code_of_all = "".join(map(code, SOURCES.values()))
    for kind in keys.TABLE:
        assert f"prefix .. '{kind.name.partition('<')[0]}'" in code_of_all, kind.name


def test_every_field_of_a_record_is_in_the_table() -> None:
    used: set[str] = set()
    for source in map(code, SOURCES.values()):
        for command, rest in _ON_A_HASH.findall(source):
            words = re.findall(r"'(\w+)'", rest.partition(",")[2])
            used |= set(words[:1] if command == "HINCRBY" else words)
        for built in re.findall(r"fields(?:\[.*?\])?.* = (.*)", source):
            used |= set(re.findall(r"'(\w)'", built))
        used |= set(re.findall(r"record\.(\w)\b", source))
    assert used - LETTERS <= set(keys.RECORD_FIELDS)
    assert set(keys.RECORD_FIELDS) <= used
    assert set(reading.FIELDS) == set(keys.RECORD_FIELDS), "tests read every field"


@pytest.mark.broker
def test_a_server_that_has_forgotten_the_scripts_is_taught_again(place: Place) -> None:
    enqueue(place, new_job("a"))
    place.admin("SCRIPT", "FLUSH")
    assert [each.job_id for each in deliver(place, new_job("b"))] == [b"a", b"b"]


@pytest.mark.broker
async def test_a_broker_teaches_a_server_that_has_forgotten_the_scripts(place: Place) -> None:
    async with broker_on(place) as broker:
        await broker.enqueue(new_job("a"))
        place.admin("SCRIPT", "FLUSH")
        assert (await broker.enqueue(new_job("b")))[0]
        place.admin("SCRIPT", "FLUSH")
        assert await broker.backlog(["default:5"]) == 2


@pytest.mark.broker
async def test_an_error_of_a_script_names_the_script(place: Place) -> None:
    place.is_sound = False
    place.admin("SET", f"{place.prefix}j:a", "no hash")
    looked = scripts.look(place.prefix, job_id="a")
    async with broker_on(place) as broker:
        with pytest.raises(ReplyError, match=r"^look\.lua: WRONGTYPE"):
            await broker.run(looked)
        place.admin("SCRIPT", "FLUSH")
        with pytest.raises(ReplyError, match=r"^look\.lua: WRONGTYPE"):
            await broker.run(looked)
