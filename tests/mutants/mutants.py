"""The mutants: what is taken away, and which tests must notice."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from aioq.broker.broker import Broker
from aioq.worker import lease
from aioq.worker.consumer import Consumer
from aioq.worker.executor import Executor
from aioq.worker.identity import Identity


@dataclass(frozen=True)
class Mutant:
    """One protection that is missing."""

    name: str
    caught_by: tuple[str, ...]
    """Files or tests of which one must fail."""
    edits: tuple[tuple[str, str, str], ...] = ()
    """Script, what stands in it, and what is put in its place."""
    patch: Callable[[pytest.MonkeyPatch], None] = field(default=lambda _: None)
    """What is changed in Python."""
    seed: int | None = None
    """Of a simulation that notices; None: it is blind to this, see `blind`."""
    rule: Callable[[pytest.MonkeyPatch], None] = field(default=lambda _: None)
    """What is changed in the protocol of the simulated processes."""
    blind: str = ""
    """Why the simulation cannot notice."""


def _same_name_again(patch: pytest.MonkeyPatch) -> None:
    def same(_: Identity) -> str:
        return "always-the-same"

    patch.setattr(Identity, "another", same)


def _nothing_given_back(patch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: object) -> None:
        return

    patch.setattr(Executor, "_give_back", nothing)
    patch.setattr(Broker, "leave", nothing)


def _nothing_recovered(patch: pytest.MonkeyPatch) -> None:
    async def nothing(consumer: Consumer) -> None:
        consumer._has_lost_reply = False  # pyright: ignore[reportPrivateUsage]

    patch.setattr(Consumer, "_recover", nothing)


def _heartbeat_from_the_loop(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lease, "STALLED", 0.4)  # the thread beats only while the loop turns


SETTLE = "tests/broker/test_settle.py"
REAP = "tests/broker/test_reap.py"
FETCH = "tests/broker/test_fetch.py"
LEASES = "tests/worker/test_leases.py"

MUTANTS = (
    Mutant(
        "no fence",
        (SETTLE,),
        (("settle", "elseif record[TOKEN] ~= entry_id then", "elseif false then"),),
    ),
    Mutant(
        "fence by owner only",
        (SETTLE,),
        (
            (
                "settle",
                "elseif record[TOKEN] ~= entry_id then",
                "elseif not call('HGET', prefix .. 'j:' .. job_id, 'o') then",
            ),
        ),
    ),
    Mutant(
        "no grace",
        (REAP,),
        tuple(
            (
                script,
                "if away_ms >= 0 and away_ms <= lease_ms / 2 then return false end",
                "if true then return false end",
            )
            for script in ("beat", "register", "reap")
        ),
    ),
    Mutant("no new identity", (LEASES,), patch=_same_name_again),
    Mutant("no give-back", ("tests/worker/test_shutdown.py",), patch=_nothing_given_back),
    Mutant(
        "no recovery of a lost fetch",
        (
            "tests/faults/test_peers_outages.py"
            "::test_a_delivery_whose_reply_is_lost_waits_for_no_lease_and_runs_once",
        ),
        patch=_nothing_recovered,
    ),
    Mutant(
        "early ack",
        (FETCH,),
        (
            (
                "fetch",
                "    room = room - 1\n",
                "    room = room - 1\n    call('XACK', prefix .. 's:' .. lane, 'w', entry_id)\n",
            ),
        ),
    ),
    Mutant(
        "no delete after ack",
        (SETTLE,),
        (("settle", "  call('XDEL', prefix .. 's:' .. lane, unpack(entries))\n", ""),),
    ),
    Mutant(
        "consumer deleted with pending entries",
        (REAP,),
        (
            (
                "reap",
                "  call('ZADD', prefix .. 'lw', 'XX', 0, worker)\n",
                "  for _, lane in ipairs(lanes) do\n"
                "    redis.pcall('XGROUP', 'DELCONSUMER', prefix .. 's:' .. lane, 'w', worker)\n"
                "  end\n",
            ),
        ),
    ),
    Mutant(
        "group created at $", (FETCH,), (("fetch", "'w', '0', 'MKSTREAM'", "'w', '$', 'MKSTREAM'"),)
    ),
    Mutant(
        "retry without atomic ack",
        (SETTLE,),
        (
            (
                "settle",
                "    table.insert(acks[place], entry_id)\n",
                "    if op ~= 'r' then table.insert(acks[place], entry_id) end\n",
            ),
            (
                "settle",
                "for lane, entries in pairs(acks) do\n",
                "for lane, entries in pairs(acks) do if #entries > 0 then\n",
            ),
            ("settle", "unpack(entries))\nend\n", "unpack(entries))\nend end\n"),
        ),
    ),
    Mutant(
        "no enqueue idempotency",
        ("tests/broker/test_enqueue.py",),
        (
            ("enqueue", "if call('EXISTS', record) == 0 then", "if true then"),
            ("enqueue", "  if maker[1] then\n", "  if false then\n"),
        ),
    ),
    Mutant(
        "deny-oom first",
        ("tests/broker/test_full.py",),
        tuple(
            (script, "call('DEL', prefix .. '~')", "-- ")
            for script in ("beat", "register", "fetch", "reap")
        ),
    ),
    Mutant(
        "client clock",
        (
            "tests/worker/test_consuming.py"
            "::test_a_job_that_is_not_due_stays_where_it_is_however_often_is_fetched",
        ),
        (("fetch", "local now_ms = time[1] * 1000", "local now_ms = 90000 + time[1] * 1000"),),
    ),
    Mutant("heartbeat from the loop", (LEASES,), patch=_heartbeat_from_the_loop),
    Mutant(
        "no epoch of fetches",
        ("tests/broker/test_recover.py",),
        (("fetch", "worker) or 0) > epoch then", "worker) or 0) > 1e15 then"),),
    ),
    Mutant(
        "suspects not kept apart",
        ("tests/broker/test_suspects.py",),
        tuple(
            (script, "if crashes and tonumber(crashes) >= 2 then", "if false then")
            for script in ("fetch", "settle", "reap", "recover", "revoke", "look")
        ),
    ),
    Mutant(
        "crash counted for a job that waits for a thread",
        (REAP,),
        (("reap", "'m') ~= 'v'", "'m') ~= 'never'"),),
    ),
    Mutant(
        "revoke not written down",
        ("tests/broker/test_revoke.py",),
        (
            (
                "revoke",
                "    if not record[REVOKE] then"
                " call('HSET', prefix .. 'j:' .. job_id, 'c', keep_ms) end\n",
                "",
            ),
        ),
    ),
)
BY_NAME = {mutant.name: mutant for mutant in MUTANTS}
