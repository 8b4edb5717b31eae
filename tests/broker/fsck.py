"""Check that records and indexes tell the same story, and that no key belongs to nobody."""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from aioq.broker.keys import TABLE, KeyKind
from tests.broker.gates import is_gate, place_of, wrong_gates

FINAL = {"completed", "failed", "revoked"}
IN_STREAM = {"queued", "running"}
_VARIABLE = re.compile(r"<\w+>")
_OWNED = re.compile(r"g[dkmsvx]?:")
PATTERNS = {
    kind: re.compile(".+".join(re.escape(part) for part in _VARIABLE.split(kind.name)))
    for kind in TABLE
}


def problems(
    dump: dict[str, Any], types: dict[str, str], expiring: set[str], groups: dict[str, set[str]]
) -> list[str]:
    """Return what is wrong with a place, in words.

    Args:
        dump: what `Place.dump` returns.
        types: the type of each key.
        expiring: the keys that have an expiry.
        groups: the consumers of each stream that has a group.
    """
    records = {name[2:]: value for name, value in dump.items() if name.startswith("j:")}
    return [
        *_wrong_keys(types, expiring),
        *_wrong_records(records, dump, expiring),
        *_orphans(records, dump, expiring),
        *wrong_gates(records, dump),
        *_wrong_flows(records, dump, expiring),
        *_wrong_locks(records, dump),
        *_wrong_memos(records, dump, expiring),
        *_wrong_items(records, expiring, dump),
        *_of_no_worker(dump, groups),
        *_left_in_empty(records, dump, expiring),
    ]


def _wrong_keys(types: dict[str, str], expiring: set[str]) -> Iterator[str]:
    """Each key is one of the table, of its type; what the table says expires, expires."""
    for name, type_ in types.items():
        kinds = _kinds(name)
        if type_ not in {kind.type for kind in kinds}:
            yield f"{name}, a {type_}, is not in the table of keys"
        elif all(kind.expiry == "none" for kind in kinds) and name in expiring:
            yield f"{name} expires, and the table says that it does not"
        elif name.startswith(("v:", "w:", "sv:", "cx:", "ub:")) and name not in expiring:
            yield f"{name} does not expire, and the table says that it does"


@lru_cache(20_000)
def _kinds(name: str) -> list[KeyKind]:
    return [kind for kind, pattern in PATTERNS.items() if pattern.fullmatch(name)]


def _delayed(dump: dict[str, Any]) -> set[str]:
    """Return the jobs of the delayed set, which has gates too."""
    return {member for member in dump.get("d", {}) if not is_gate(member)}


def _entries(dump: dict[str, Any]) -> dict[str, list[tuple[str, str | None]]]:
    """Return the entries of each job: stream, and the worker that holds it."""
    held: dict[str, list[tuple[str, str | None]]] = {}
    for name, stream in dump.items():
        for owner, _, worker in stream if name.startswith("s:") else ():
            held.setdefault(owner, []).append((name, worker))
    return held


def _wrong_records(
    records: dict[str, Any], dump: dict[str, Any], expiring: set[str]
) -> Iterator[str]:
    """Each job is in exactly one place: the one that its record names."""
    held, delayed = _entries(dump), _delayed(dump)
    for job_id, record in records.items():
        state = record["state"]
        entries = held.get(job_id, [])
        lane = place_of(record["lane"], record.get("crashes", 0), record.get("holds"))
        holder = record["worker"] if state == "running" else None
        if entries != ([(f"s:{lane}", holder)] if state in IN_STREAM else []):
            yield f"job {job_id} is {state}, and its entries are {entries}"
        if state == "queued" and lane not in dump.get("l", set()):
            yield f"job {job_id} is queued in a lane that nobody looks into"
        if state == "running" and holder not in dump.get("lw", {}):
            yield f"job {job_id} runs on {holder}, which has no lease: nobody will reap it"
        if "revoke" in record and state not in {"running", "revoked"}:
            yield f"job {job_id} is {state}, and was revoked"
        is_due = state == "delayed" or (state == "parked" and "expires" in record)
        is_due = is_due or (state == "suspended" and "due" in record)
        if is_due != (job_id in delayed):
            yield f"job {job_id} is {state}, and the delayed set says something else"
        if state in {"delayed", "parked", "suspended", "waiting"} and f"y:{job_id}" not in dump:
            yield f"the payload of job {job_id} is lost"
        if (state in FINAL) != (f"j:{job_id}" in expiring):
            yield f"job {job_id} is {state}: its record must expire then, and only then"


def _orphans(records: dict[str, Any], dump: dict[str, Any], expiring: set[str]) -> Iterator[str]:
    """Nothing in an index is without its record."""
    for name, value in dump.items():
        if name.startswith("s:"):
            yield from (f"{name} holds {each}" for each in value if each[0] not in records)
        elif name.startswith("y:"):
            state = records.get(name[2:], {}).get("state")
            may_be = {"delayed", "parked", "suspended", "waiting", "failed"}
            if state not in may_be or (state == "failed") != (name in expiring):
                yield f"{name} is the payload of a job that is {state}"
        elif name.startswith("b:") and value > 16:
            yield f"{name} has {value} tokens"
    yield from (f"d names {job_id}" for job_id in _delayed(dump) if job_id not in records)


def _wrong_flows(
    records: dict[str, Any], dump: dict[str, Any], expiring: set[str]
) -> Iterator[str]:
    """What belongs to a job of a workflow goes with it; no job waits that has all it waited for."""
    for name, value in dump.items():
        owner = name.partition(":")[2]
        if not _OWNED.match(name) or "gl" in dump or owner in dump.get("go", {}):
            continue
        state = records.get(owner, {}).get("state")
        plan = records.get(owner, {}).get("plan", "").split()
        if state == "completed" and plan and f"gk:{plan[2]}" in dump:
            continue  # it is needed in the middle of its workflow
        lives = state not in {None, *FINAL} and not name.startswith("gx:")
        if lives == (name in expiring):
            yield f"{name} must expire if its job has ended, and only then, and that is {state}"
        needs = int(records.get(owner, {}).get("needs", 0))
        if name.startswith("g:") and state == "waiting" and len(value) >= needs:
            yield f"job {owner} waits, and has all that it waited for"


def _wrong_locks(records: dict[str, Any], dump: dict[str, Any]) -> Iterator[str]:
    """A unique key is held by a job that has not ended, and that gives it back."""
    for name, holder in dump.items():
        if name.startswith("un:"):
            record = records.get(holder.decode(), {"state": None})
            words = record.get("waiters", "").split()
            if record["state"] in {None, *FINAL} or not {f"!{name[3:]}", f"?{name[3:]}"} & {*words}:
                yield f"{name} is held by job {holder.decode()}, which is {record['state']}"


def _wrong_memos(
    records: dict[str, Any], dump: dict[str, Any], expiring: set[str]
) -> Iterator[str]:
    """A memo lives as long as its job, and whoever is listed as waiting for an event does wait."""
    for name, value in dump.items():
        if name.startswith(("dm:", "dr:")):
            state = records.get(name[3:], {}).get("state")
            if state in {None, "completed", "revoked"} or (state == "failed") != (name in expiring):
                yield f"{name} is the memo of a job that is {state}"
        elif name.startswith("dw:"):
            for member in value:
                job_id, _, wait = member.partition(" ")
                if not dump.get(f"dm:{job_id}", {}).get(wait, "").startswith("e"):
                    yield f"{name} names {member}, which does not wait"


def _wrong_items(
    records: dict[str, Any], expiring: set[str], dump: dict[str, Any]
) -> Iterator[str]:
    """What a job streams expires when the job has ended."""
    for name in dump.keys() - expiring:
        state = records.get(name[3:], {}).get("state") if name.startswith("si:") else "running"
        if state in {None, *FINAL}:
            yield f"{name} never expires, and its job is {state}"


def _of_no_worker(dump: dict[str, Any], groups: dict[str, set[str]]) -> Iterator[str]:
    """What belongs to a worker goes with its lease; until then the reaper finds all it holds."""
    leased = set(dump.get("lw", {}))
    for stream, consumers in groups.items():
        if consumers - leased:
            yield f"{stream} has consumers without a lease: {consumers - leased}"
    lanes = {stream.removeprefix("s:") for stream in groups}
    if lanes != dump.get("ss", set()):
        yield f"ss says {dump.get('ss')}, and the lanes with a group are {lanes}"
    if set(dump.get("e", {})) - leased:
        yield f"e names workers without a lease: {dump['e']}"
    for name in dump:
        if name.startswith("cx:") and name.removeprefix("cx:") not in leased:
            yield f"{name} is that of a worker without a lease"


def _left_in_empty(
    records: dict[str, Any], dump: dict[str, Any], expiring: set[str]
) -> Iterator[str]:
    """Once no job is to be run and no worker is there, only what expires is left (G13)."""
    alive = any(record["state"] not in FINAL for record in records.values())
    if alive or "lw" in dump:
        return
    constant = [PATTERNS[kind] for kind in TABLE if kind.expiry == "constant"]
    for name in dump.keys() - expiring:
        if any(pattern.fullmatch(name) for pattern in constant):
            continue
        if name != "x":  # a list of dead letters is as long as they are many, and no longer
            yield f"{name} is left in an empty system"
