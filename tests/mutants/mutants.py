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
PLANS = "tests/broker/test_plans.py"
REAP = "tests/broker/test_reap.py"
FETCH = "tests/broker/test_fetch.py"
LEASES = "tests/worker/test_leases.py"

GATES = "tests/broker/test_gates.py"
SLOTS = "tests/broker/test_free_slots.py"
EVERY_END = f"{GATES}::test_slots_are_given_back_by_every_end_of_a_delivery"

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
                "record[4], record[5], record[6], payload)\n    return\n",
                "record[4], record[5], record[6], payload)\n"
                "    call('XACK', prefix .. 's:' .. lane, 'w', entry_id)\n    return\n",
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
    Mutant(
        "slot not released by settle",
        (EVERY_END,),
        (("settle", "  release(job_id, record[HOLDS])\n", ""),),
    ),
    Mutant(
        "slot not released by reap",
        (EVERY_END,),
        (("reap", "  release(job_id, record[HOLDS])\n", ""),),
    ),
    Mutant(
        "slot not released by recover",
        (EVERY_END,),
        (("recover", "        release(job_id, record[HOLDS])\n", ""),),
    ),
    Mutant(
        "slot not released by a revoke at once",
        (EVERY_END,),
        (("revoke", "    release(job_id, record[HOLDS])\n", ""),),
    ),
    Mutant(
        "token taken without a start",
        (f"{GATES}::test_no_token_is_taken_where_the_job_does_not_start",),
        (
            (
                "fetch",
                "  if wait > 0 or slot then return wait, slot, costs end\n",
                "  if wait > 0 or slot then\n"
                "    for word, each in pairs(buckets) do spend(each, costs[word] or 1, 'j') end\n"
                "    return wait, slot, costs\n"
                "  end\n",
            ),
        ),
    ),
    Mutant(
        "a gate that is gone takes along the slot it was woken for",
        (f"{SLOTS}::test_the_next_has_it_when_the_job_is_revoked",),
        (("revoke", "      if gate then yield(gate) end\n", ""),),
    ),
    Mutant(
        "a pause takes along the slot of a gate",
        (f"{SLOTS}::test_the_next_has_it_when_the_queue_is_paused",),
        (("queues/pause", "    if gate ~= '' then yield(gate) end", "    -- "),),
    ),
    Mutant(
        "parked job left in its line by a revoke",
        (GATES,),
        (
            (
                "revoke",
                "unpark(job_id, wait_of(record[LANE], record[CRASHES]), record[HOLDS] or '')",
                "nil",
            ),
        ),
    ),
    Mutant(
        "bucket without a brim",
        (f"{GATES}::test_a_bucket_that_was_idle_for_long_lets_no_more_than_its_burst_through",),
        (
            (
                "fetch",
                "math.min(level + math.min(gain, bucket.capacity), bucket.capacity)",
                "level + gain",
            ),
        ),
    ),
    Mutant(
        "due job past its gate",
        (f"{GATES}::test_a_delayed_job_with_a_limit_goes_to_its_line_when_it_is_due",),
        (("fetch", "  if record[7] then\n    call('HSET'", "  if false then\n    call('HSET'"),),
    ),
    Mutant(
        "paused queue handed out",
        (f"{GATES}::test_a_paused_queue_hands_out_nothing_and_loses_nothing",),
        (("fetch", "if flag == 1 and not is_paused[queue] then", "if flag == 1 then"),),
    ),
    Mutant(
        "token of an earlier delivery used again",
        (f"{GATES}::test_a_delivery_in_the_millisecond_of_the_last_one_has_a_token_of_its_own",),
        (("fetch", "if ms ~= last_ms or tonumber(n) > tonumber(last_n) then", "if true then"),),
    ),
    Mutant(
        "occurrence without compare-and-set",
        ("tests/broker/test_schedules.py",),
        (("schedules/fire", " or not by_hand and not is_next(name, occurrence) then", " then"),),
    ),
    Mutant(
        "leaked slot not found",
        ("tests/broker/test_fsck_gates.py",),
        (("fsck/gates", "  found('slot-leaked', job_id, slot, function()", "  pcall(function()"),),
    ),
    Mutant(
        "body begun with a member missing",
        (PLANS,),
        (
            (
                "settle",
                "record.gathered < record.needs then",
                "record.gathered < record.needs - 1 then",
            ),
        ),
    ),
    Mutant(
        "failure of a member told to nobody",
        (PLANS,),
        (
            (
                "settle",
                "return fail(record, index, from, state, value)",
                "return",
            ),
        ),
    ),
    Mutant(
        "rest of a large workflow forgotten",
        (PLANS,),
        (("fetch", "follow(call('EXISTS', prefix .. 'gl') == 1)", "follow(false)"),),
    ),
    Mutant(
        "plan never given up",
        (PLANS,),
        (("beat", "call('RPUSH', prefix .. 'gl', 'x ' .. root .. ' 0')", ""),),
    ),
    Mutant(
        "unique key given back by whoever ends",
        ("tests/broker/test_unique.py",),
        (("settle", "if call('GET', lock) == job_id then", "if true then"),),
    ),
    Mutant(
        "unique key kept for ever",
        ("tests/broker/test_unique.py",),
        (("settle", "    release_unique(job_id, rest)\n", ""),),
    ),
    Mutant(
        "memo written by a delivery that was taken over",
        ("tests/broker/test_durable.py",),
        (
            (
                "durable/note",
                "if not is_current(record, entry_id) then return { -1, '' } end",
                "",
            ),
        ),
    ),
    Mutant(
        "items written by a delivery that was taken over",
        ("tests/broker/test_streams.py",),
        (("streams/emit", " or record[2] ~= entry_id then", " then"),),
    ),
)
BY_NAME = {mutant.name: mutant for mutant in MUTANTS}
