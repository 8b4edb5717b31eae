"""limits/*.lua: limits as the code declares them, as they are changed, and who waits for them."""

import pytest

from aioq.broker import limits
from aioq.broker.limits import Acquired, Declared, Described, LimitStore, Numbers, Ticket
from aioq.core.bucket import TokenBucket
from tests.broker.buckets import define
from tests.broker.calls import enqueue, fetch, outcome, settle
from tests.broker.clock import Clock
from tests.broker.place import START, Place, broker_on, new_job

pytestmark = pytest.mark.broker

NOW_US = START * 1000
STRIPE = TokenBucket(1, burst=1).numbers.text
"""One token a second."""


def declare(
    place: Place,
    *given: tuple[str, str],
    source: str = "shop:app",
    version: int = 0,
    complete: bool = True,
) -> Declared:
    numbers = [Numbers(*each) for each in given]
    return place.run(
        limits.declare(
            place.prefix, source=source, version=version, complete=complete, limits=numbers
        )
    )


def known(place: Place) -> dict[str, str]:
    """Return what the server knows the code to declare: limit to numbers."""
    flat = place.admin("HGETALL", f"{place.prefix}lc")
    table = {flat[n].decode(): flat[n + 1].decode() for n in range(0, len(flat), 2)}
    return {name: value.split(" ", 2)[2] for name, value in table.items() if name[:2] != "s:"}


def acquire(
    place: Place,
    *tickets: tuple[int, int],
    client: str = "c1",
    nonce: int = 0,
    waits: bool = True,
    numbers: str = STRIPE,
) -> Acquired:
    acquire.nonces += 1  # pyright: ignore[reportFunctionMemberAccess]
    call = limits.acquire(
        place.prefix,
        limit="stripe:",
        numbers=numbers,
        client=client,
        nonce=nonce or acquire.nonces,  # pyright: ignore[reportFunctionMemberAccess]
        waits=waits,
        tickets=[Ticket(*each) for each in tickets],
    )
    return place.run(call)


acquire.nonces = 1000  # pyright: ignore[reportFunctionMemberAccess]


def park(place: Place, *job_ids: str, holds: str) -> None:
    enqueue(place, *[new_job(job_id, lane=f"default:5 {holds}") for job_id in job_ids])


def started(place: Place, *, room: int = 250) -> list[str]:
    place.lease("w1")
    return [each.job_id.decode() for each in fetch(place, room=room).deliveries]


def test_the_first_declaration_tells_a_process_its_version(place: Place, clock: Clock) -> None:
    assert declare(place, ("b:stripe", "1 2 3"), ("c:db", "5")) == (
        NOW_US,
        ["b:stripe", "c:db"],
    )
    assert known(place) == {"b:stripe": "1 2 3", "c:db": "5"}
    assert declare(place, ("b:stripe", "1 2 3"), version=NOW_US) == (NOW_US, ["c:db"])
    assert known(place) == {"b:stripe": "1 2 3"}, "what is no longer declared is gone"


def test_the_newest_process_of_a_source_wins_whoever_declares_again(
    place: Place, clock: Clock
) -> None:
    old = declare(place, ("b:stripe", "1 1 1"), ("b:old", "1 1 1")).version
    clock.advance(1)
    declare(place, ("b:stripe", "2 2 2"))
    assert declare(place, ("b:stripe", "1 1 1"), ("b:old", "1 1 1"), version=old) == (old, [])
    assert known(place) == {"b:stripe": "2 2 2"}


def test_other_sources_keep_theirs(place: Place, clock: Clock) -> None:
    declare(place, ("b:stripe", "1 1 1"), source="web:app")
    clock.advance(1)
    declare(place, ("b:mail", "1 1 1"))
    assert known(place) == {"b:stripe": "1 1 1", "b:mail": "1 1 1"}


def test_a_single_limit_takes_nothing_away(place: Place, clock: Clock) -> None:
    declare(place, ("b:stripe", "1 1 1"))
    clock.advance(1)
    assert declare(place, ("b:mail", "1 1 1"), complete=False).changed == ["b:mail"]
    assert known(place) == {"b:stripe": "1 1 1", "b:mail": "1 1 1"}


def test_a_source_without_limits_leaves_nothing_but_the_word_that_it_has_none(
    place: Place, clock: Clock
) -> None:
    declare(place)
    assert place.snapshot() == {}
    old = declare(place, ("b:stripe", "1 1 1")).version
    clock.advance(1)
    assert declare(place).changed == ["b:stripe"]
    assert declare(place, ("b:stripe", "1 1 1"), version=old).changed == []
    assert known(place) == {}


def test_only_what_is_new_counts_as_changed(place: Place, clock: Clock) -> None:
    declare(place, ("b:stripe", "1 1 1"), ("b:mail", "1 1 1"))
    clock.advance(1)
    assert declare(place, ("b:stripe", "1 1 1"), ("b:mail", "2 1 1")).changed == ["b:mail"]


def test_a_change_says_whether_the_code_declares_the_limit(place: Place, clock: Clock) -> None:
    declare(place, ("b:stripe", "1 1 1"))
    assert place.run(limits.change(place.prefix, limit="b:stripe", numbers="2 2 2"))
    assert not place.run(limits.change(place.prefix, limit="b:strpe", numbers="2 2 2"))
    read = limits.describe(place.prefix, limits=["b:stripe:", "b:strpe:", "c:stripe:"])
    assert place.run(read) == [
        Described(f"{NOW_US} shop:app 1 1 1", "2 2 2", 2),
        Described("", "2 2 2", 2),
        Described("", "", 0),
    ]
    assert place.run(limits.change(place.prefix, limit="b:stripe", numbers=""))
    assert place.run(read)[0].changed == ""


@pytest.mark.parametrize("most", [1, 2, 500])
def test_gates_that_sleep_for_tokens_are_woken(place: Place, clock: Clock, most: int) -> None:
    declare(place, ("b:stripe", STRIPE))
    for key in ("x", "y", "z"):
        park(place, f"{key}1", f"{key}2", holds=f"b:stripe:{key}")
    assert sorted(started(place)) == ["x1", "y1", "z1"]
    place.run(limits.change(place.prefix, limit="b:stripe", numbers="5 1 100"))
    assert started(place) == [], "they sleep until the token comes that was promised"
    call = limits.wake(place.prefix, limit="b:stripe", most=most)
    woken = list[int]()
    while (count := place.run(call)) == most:
        woken.append(count)
    assert sum(woken) + count == 3
    clock.advance(1)
    assert sorted(started(place)) == ["x2", "y2", "z2"]


def test_gates_that_wait_for_slots_are_woken(place: Place, clock: Clock) -> None:
    declare(place, ("c:db", "1"))
    park(place, "a", "b", "c", holds="c:db:")
    assert started(place) == ["a"]
    assert started(place) == []
    place.run(limits.change(place.prefix, limit="c:db", numbers="2"))
    assert place.run(limits.wake(place.prefix, limit="c:db", most=500)) == 1
    assert started(place) == ["b"]
    described = place.run(limits.describe(place.prefix, limits=["c:db:"]))
    assert described == [Described(f"{NOW_US} shop:app 1", "2", 2)]


async def test_a_limit_that_the_code_has_no_more_holds_nobody_up(
    place: Place, clock: Clock
) -> None:
    async with broker_on(place) as broker:
        store = LimitStore(broker)
        version = await store.declare(
            "shop:app", [Numbers("c:db", "1")], version=0, is_complete=True, patience=1
        )
        park(place, "a", "b", holds="c:db:")
        assert started(place) == ["a"]
        assert started(place) == []
        assert await store.waiting("c:db") == 1
        await store.declare("shop:app", [], version=version, is_complete=True, patience=1)
        assert started(place) == ["b"]


async def test_those_who_wait_are_counted_over_all_keys(place: Place, clock: Clock) -> None:
    declare(place, ("c:db", "1"))
    for fair in range(30):
        park(place, f"a{fair}", f"b{fair}", holds=f"f:{fair} c:db:")
    park(place, "x", "y", holds="c:db:other")
    started(place)
    started(place)
    async with broker_on(place) as broker:
        assert await LimitStore(broker).waiting("c:db") == 60
        assert await LimitStore(broker).fields() == ["c:db"]


def test_tokens_go_to_those_who_came_first(place: Place, clock: Clock) -> None:
    assert acquire(place, (1, 1), (2, 1)) == (False, 1_000_000, [1])
    assert acquire(place, (1, 1), client="c2") == (False, 2_000_000, [])
    clock.advance(1000)
    assert acquire(place, client="c2") == (True, 1_000_000, []), "c1 is there, and before it"
    assert acquire(place) == (True, 1_000_000, [2])


def test_a_line_of_many_costs_is_estimated(place: Place, clock: Clock) -> None:
    wide = TokenBucket(1, burst=5).numbers.text
    assert acquire(place, (1, 5), numbers=wide) == (False, 0, [1])
    assert acquire(place, (2, 3), (3, 4), numbers=wide).wait_us == 3_000_000
    assert acquire(place, (1, 2), client="c2", numbers=wide).wait_us == 9_000_000


def test_whoever_does_not_wait_gets_nothing_past_those_who_do(place: Place, clock: Clock) -> None:
    assert acquire(place, (1, 1), client="c2", waits=False).granted == [1]
    assert acquire(place, (2, 1), client="c2", waits=False).granted == []
    acquire(place, (1, 1))
    clock.advance(1000)
    assert acquire(place, (3, 1), client="c2", waits=False).granted == []
    assert acquire(place).granted == [1], "nothing is left of those who do not wait"
    assert place.admin("EXISTS", f"{place.prefix}aw:stripe:") == 0


def test_whoever_leaves_holds_nobody_up(place: Place, clock: Clock) -> None:
    acquire(place, (1, 1), (2, 1), (3, 1))
    assert acquire(place, (-2, 1)).granted == []
    clock.advance(1000)
    assert acquire(place).granted == [3]


def test_whoever_died_holds_nobody_up(place: Place, clock: Clock) -> None:
    acquire(place, (1, 1), (2, 1), client="dead")
    acquire(place, (1, 1))
    place.admin("DEL", f"{place.prefix}ac:dead")
    clock.advance(1000)
    assert acquire(place).granted == [1]


def test_a_client_that_was_away_too_long_is_told_and_keeps_its_place(
    place: Place, clock: Clock
) -> None:
    acquire(place, (1, 1), (2, 1))
    acquire(place, (1, 1), client="c2")
    place.admin("DEL", f"{place.prefix}ac:c1")
    clock.advance(1000)
    assert not acquire(place).known
    assert acquire(place, (2, 1)) == (True, 2_000_000, []), "c2 has had its turn to look"


def test_a_call_that_is_sent_again_grants_nothing_twice(place: Place, clock: Clock) -> None:
    first = acquire(place, (1, 1), (2, 1), nonce=7)
    assert first.granted == [1]
    clock.advance(1000)
    assert acquire(place, (1, 1), (2, 1), nonce=7).granted == [1]
    assert acquire(place, nonce=8).granted == [2]


def test_the_servers_numbers_win_over_those_of_the_caller(place: Place, clock: Clock) -> None:
    define(place, TokenBucket(1, burst=2).numbers)
    assert acquire(place, (1, 1), (2, 1), (3, 1)).granted == [1, 2]
    define(place, TokenBucket(1000, burst=10).numbers, at="lr")
    clock.advance(1)
    assert acquire(place).granted == [3]


def test_nothing_is_left_of_a_line_but_what_expires(place: Place, clock: Clock) -> None:
    acquire(place, (1, 1), (2, 1))
    assert set(place.expiring()) == {"aw:stripe:", "ac:c1", "ag:c1", "tb:stripe:"}


def test_jobs_and_those_in_line_are_served_in_turn(place: Place, clock: Clock) -> None:
    declare(place, ("b:stripe", STRIPE))
    park(place, "a", "b", "c", holds="b:stripe:")
    assert started(place) == ["a"]
    assert acquire(place, (1, 1), (2, 1)).granted == []
    served = list[object]()
    for _ in range(4):
        clock.advance(1000)
        served += [*started(place), *acquire(place).granted, *started(place)]
    assert served == [1, "b", 2, "c"]


def test_it_does_not_matter_who_asks_first(place: Place, clock: Clock) -> None:
    declare(place, ("b:stripe", STRIPE))
    park(place, "a", "b", "c", holds="b:stripe:")
    assert started(place) == ["a"]
    acquire(place, (1, 1), (2, 1))
    served = list[object]()
    for _ in range(4):
        clock.advance(1000)
        served += [*acquire(place).granted, *started(place), *acquire(place).granted]
    assert served == [1, "b", 2, "c"]


def test_a_gate_that_does_not_come_holds_the_line_up_for_a_second(
    place: Place, clock: Clock
) -> None:
    declare(place, ("b:stripe", STRIPE))
    park(place, "a", "b", holds="b:stripe:")
    assert started(place) == ["a"]
    acquire(place, (1, 1), (2, 1))
    clock.advance(1000)
    assert acquire(place).granted == [1]
    assert started(place) == [], "its gate sleeps until the next token comes"
    clock.advance(1500)
    assert acquire(place).granted == []
    clock.advance(1500)
    assert acquire(place).granted == [2]


def test_a_job_whose_other_limit_stops_it_keeps_no_token_from_the_line(
    place: Place, clock: Clock
) -> None:
    hourly = TokenBucket(1, per=3600).numbers.text
    declare(place, ("b:stripe", STRIPE), ("b:slow", hourly))
    park(place, "a", "b", holds="b:slow: b:stripe:")
    assert started(place) == ["a"]
    assert started(place) == []
    acquire(place, *[(number, 1) for number in range(1, 6)])
    for number in range(1, 6):
        clock.advance(1000)
        assert acquire(place).granted == [number]


def test_slots_are_counted_where_they_are_taken(place: Place, clock: Clock) -> None:
    declare(place, ("c:db", "2"))
    park(place, "a", "b", "c", holds="c:db:x")
    place.lease("w1")
    deliveries = fetch(place).deliveries
    read = limits.describe(place.prefix, limits=["c:db:x", "c:db:"])
    assert [each.figure for each in place.run(read)] == [2, 0]
    settle(place, outcome(deliveries[0], "c", 0))
    assert [each.figure for each in place.run(read)] == [1, 0]
