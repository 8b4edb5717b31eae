"""Check that held jobs, their lines, gates and slots tell the same story."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from aioq.broker.keys import suspects


def wait_of(lane: str, crashes: int) -> str:
    """Return the lane in which a job waits: after two crashes it is that of the suspects."""
    return suspects(lane.rpartition(":")[0]) if crashes >= 2 else lane


def place_of(lane: str, crashes: int, holds: object = None) -> str:
    """Return the lane in whose stream the entry of a job is."""
    return wait_of(lane, crashes) + ("h" if holds else "")


def gate_of(lane: str, holds: str) -> tuple[str, str]:
    """Return the gate at which a job waits, and its fair key."""
    words = holds.split()
    fair = [word[2:] for word in words if word.startswith("f:")]
    limits = [word.partition("=")[0] for word in words if not word.startswith("f:")]
    return f"{lane} {' '.join(limits)}", "".join(fair)


def is_gate(member: str) -> bool:
    """Tell a gate from a job id."""
    return re.match(r"\S+:[0-9z] ", member) is not None


def is_limited(holds: str) -> bool:
    """Tell whether a job is held by what its task is limited by, and not only by its schedule."""
    return re.search(r"(^| )[bcf]:", holds) is not None


def slots_of(holds: str) -> set[str]:
    """Return the slots that a job takes."""
    return {word for word in holds.split() if word.startswith(("c:", "o:"))}


def wrong_gates(records: dict[str, Any], dump: dict[str, Any]) -> Iterator[str]:
    """Each parked job is in one line, each line behind one gate, each gate in one place."""
    lanes: dict[str, set[str]] = {}
    lines: dict[str, set[str]] = {}
    keys: dict[str, set[str]] = {}
    for job_id, record in records.items():
        if record["state"] == "parked":
            lane = wait_of(record["lane"], record.get("crashes", 0))
            gate, fair = gate_of(lane, record["holds"])
            lanes.setdefault(f"hp:{lane}", set()).add(job_id)
            lines.setdefault(f"hq:{gate} {fair}", set()).add(job_id)
            keys.setdefault(f"hl:{gate}", set()).add(fair)
    for kind, expected in (("hp:", lanes), ("hq:", lines), ("hl:", keys)):
        found = {name: set(value) for name, value in dump.items() if name.startswith(kind)}
        if found != expected:
            yield f"parked jobs make {expected}, and there is {found}"
    yield from _wrong_places({name.removeprefix("hl:") for name in keys}, dump)
    yield from _wrong_slots(records, dump)


def _wrong_places(gates: set[str], dump: dict[str, Any]) -> Iterator[str]:
    places: Counter[str] = Counter()
    for name, value in dump.items():
        if name.startswith(("hr:", "sw:")) or name == "d":
            places.update(member for member in value if is_gate(member))
    if places != Counter(gates):
        yield f"there are the gates {gates}, and their places are {dict(places)}"
    for name, value in dump.items():
        if name.startswith("hr:") and name[3:] not in dump.get("l", set()):
            yield f"{value} are ready in a lane that nobody looks into"
        if name.startswith("hr:") and set(value) == {""}:
            yield f"{name} has only its turn"
        if name.startswith("lg:") and (left := set(value) - gates):
            yield f"{name} names gates that are not there: {left}"
    yield from _forgotten(dump)


def _forgotten(dump: dict[str, Any]) -> Iterator[str]:
    """Each slot that nobody holds and somebody waits for is about to be taken, or passed on."""
    in_hand = _in_hand(dump)
    for name in dump:
        slot = name.removeprefix("sw:")
        if slot != name and f"sl:{slot}" not in dump and slot not in in_hand:
            yield f"{name} waits for a slot that nobody holds, and that nobody was woken for"


def _in_hand(dump: dict[str, Any]) -> set[str]:
    """Return the slots of the gates that a fetch will look at; it wakes others for what is left."""
    return {
        word
        for name, gates in dump.items()
        if name.startswith("hr:") and name[3:].rpartition(":")[0] not in dump.get("qp", set())
        for gate in gates
        for word in slots_of(gate)
    }


def _wrong_slots(records: dict[str, Any], dump: dict[str, Any]) -> Iterator[str]:
    expected: dict[str, set[str]] = {}
    for job_id, record in records.items():
        if record["state"] == "running":
            for slot in slots_of(record.get("holds", "")):
                expected.setdefault(f"sl:{slot}", set()).add(job_id)
    for name, holders in dump.items():
        if name.startswith("sl:") and not holders <= expected.get(name, set()):
            yield f"{name} is held by {holders}, of which only {expected.get(name)} run"
