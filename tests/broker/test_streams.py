"""What jobs stream, on the server: in order, once, fenced, bounded, and gone with their job."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from aioq import Aioq, StreamGap, StreamRestarted
from aioq.broker import letters, streams
from aioq.broker.fsck import Examiner
from aioq.broker.scripts import Delivery
from aioq.core.codec import encode_error, encode_value
from aioq.core.errors import BrokerUnavailable, JobNotFound, ResultExpired, Revoked, TaskFailed
from aioq.streams import ItemStream
from tests.broker.calls import deliver, enqueue, outcome, reap, settle
from tests.broker.clock import Clock
from tests.broker.place import Place, broker_on, new_job
from tests.eventually import eventually
from tests.faults.proxy import proxy_to

pytestmark = pytest.mark.broker

HOUR = 3_600_000


def started(place: Place, job_id: str = "a") -> Delivery:
    """Enqueue and deliver one job."""
    [delivery] = deliver(place, new_job(job_id))
    return delivery


def emit(
    place: Place, to: Delivery, *items: object, first: int = 1, generation: int | None = None
) -> int:
    """Add items; the generation is that of the delivery, or for the first ones 0."""
    if generation is None:
        generation = 0 if first == 1 else to.deliveries
    call = streams.emit(
        place.prefix,
        job_id=to.job_id,
        entry_id=to.entry_id,
        generation=generation,
        first=first,
        items=[encode_value(item) for item in items],
    )
    return place.run(call)


def positions(place: Place, job_id: str = "a") -> list[str]:
    entries = place.admin("XRANGE", place.keys.items(job_id), "-", "+")
    return [entry_id.decode() for entry_id, _ in entries]


def complete(place: Place, delivery: Delivery) -> None:
    assert settle(place, outcome(delivery, "c", HOUR, b"\xc0")) == "K"


def fail(place: Place, delivery: Delivery) -> None:
    assert settle(place, outcome(delivery, "f", "", encode_error(ValueError("no")))) == "K"


async def rest_of(stream: ItemStream[object]) -> Sequence[object]:
    """Read to the end, or to the error."""
    return [item async for item in stream]


def test_items_stand_under_their_generation_and_number(place: Place) -> None:
    delivery = started(place)
    assert emit(place, delivery, "x", "y") == 1
    assert emit(place, delivery, "z", first=3) == 1
    assert positions(place) == ["1-0", "1-1", "1-2", "1-3"]


def test_a_call_that_is_sent_again_adds_nothing_twice(place: Place) -> None:
    delivery = started(place)
    assert [emit(place, delivery, "x", "y") for _ in range(2)] == [1, 1]
    assert [emit(place, delivery, "z", first=3) for _ in range(2)] == [1, 1]
    assert positions(place) == ["1-0", "1-1", "1-2", "1-3"]


def test_a_generation_without_items_begins_all_the_same(place: Place) -> None:
    delivery = started(place)
    assert [emit(place, delivery) for _ in range(2)] == [1, 1]
    assert positions(place) == ["1-0"]


def test_the_items_of_a_delivery_that_was_taken_over_are_refused(place: Place) -> None:
    zombie = started(place)
    assert emit(place, zombie, "x") == 1
    reap(place, "w1")
    [heir] = deliver(place, worker="w2")
    assert emit(place, zombie, "y", first=2) == 0
    assert emit(place, heir, "x") == 2
    assert emit(place, zombie, "y", first=2) == 0
    assert positions(place) == ["1-0", "1-1", "2-0", "2-1"]


def test_the_items_of_a_job_that_has_ended_are_refused(place: Place) -> None:
    delivery = started(place)
    emit(place, delivery, "x")
    complete(place, delivery)
    assert emit(place, delivery, "y", first=2) == 0
    assert positions(place) == ["1-0", "1-1"]


def test_the_items_of_an_unknown_job_are_refused(place: Place) -> None:
    delivery = started(place)
    assert emit(place, delivery._replace(job_id=b"nobody"), "x") == 0
    assert positions(place, "nobody") == []


def test_the_last_10_000_items_are_kept(place: Place) -> None:
    delivery = started(place)
    for first in range(1, 10_101, 100):
        emit(place, delivery, *range(100), first=first)
    kept = positions(place)
    assert len(kept) == 10_000
    assert (kept[0], kept[-1]) == ("1-101", "1-10100")


def test_items_expire_when_their_job_has_ended_and_not_before(place: Place) -> None:
    delivery = started(place)
    emit(place, delivery, "x")
    assert "si:a" not in place.expiring()
    complete(place, delivery)
    assert HOUR - 60_000 < place.expiring()["si:a"] <= HOUR


def test_items_outlive_a_short_result_for_two_minutes(place: Place) -> None:
    delivery = started(place)
    emit(place, delivery, "x")
    settle(place, outcome(delivery, "c", 1000, b"\xc0"))
    assert 60_000 < place.expiring()["si:a"] <= 120_000


def test_a_job_that_streams_nothing_has_no_stream(place: Place) -> None:
    complete(place, started(place))
    assert "si:a" not in place.dump()


def test_a_replayed_job_goes_on_with_another_generation(place: Place) -> None:
    delivery = started(place)
    emit(place, delivery, "x")
    fail(place, delivery)
    assert place.run(letters.replay(place.prefix, nonce="n", job_ids=["a"])) == "K"
    [again] = deliver(place)
    assert again.deliveries == 1
    assert emit(place, again, "y") == 2
    assert "si:a" not in place.expiring()
    complete(place, again)
    assert "si:a" in place.expiring()


def test_a_dead_letter_that_is_discarded_takes_its_items_along(place: Place) -> None:
    delivery = started(place)
    emit(place, delivery, "x")
    fail(place, delivery)
    assert place.run(letters.discard(place.prefix, nonce="n", job_ids=["a"])) == [True]
    assert "si:a" not in place.dump()


def test_a_server_that_has_lost_items_takes_the_next_ones(place: Place) -> None:
    """As after a failover to a replica that was behind."""
    delivery = started(place)
    emit(place, delivery, "x", "y")
    place.admin("DEL", place.keys.items("a"))
    assert emit(place, delivery, "z", first=3) == 1
    assert positions(place) == ["1-3"]


def test_a_full_server_takes_items(place: Place) -> None:
    delivery = started(place)
    place.admin("CONFIG", "SET", "maxmemory", 1)
    try:
        assert emit(place, delivery, "x") == 1
    finally:
        place.admin("CONFIG", "SET", "maxmemory", 0)


async def test_a_forgotten_stream_is_found_and_expires(place: Place) -> None:
    place.is_sound = False
    delivery = started(place)
    emit(place, delivery, "x")
    place.admin("XADD", place.keys.items("nobody"), "1-1", "i", "x")
    complete(place, delivery)
    place.admin("PERSIST", place.keys.items("a"))
    async with broker_on(place) as broker:
        found = (await Examiner(broker, repair=True).examine()).findings
    assert {(each.code, each.name) for each in found} == {
        ("key-forever", "si:a"),
        ("key-forever", "si:nobody"),
    }
    assert {"si:a", "si:nobody"} <= set(place.expiring())


async def test_a_stream_of_a_living_job_is_no_finding(place: Place) -> None:
    emit(place, started(place), "x")
    async with broker_on(place) as broker:
        assert (await Examiner(broker).examine()).findings == []


async def test_a_late_reader_gets_all_that_is_kept_and_the_end(place: Place) -> None:
    delivery = started(place)
    emit(place, delivery, "x", None, {"z": 1})
    complete(place, delivery)
    async with Aioq(place.url, name="test") as app:
        stream = app.job("a").stream()
        assert (stream.position, stream.generation) == (None, 0)
        assert await rest_of(stream) == ["x", None, {"z": 1}]
        assert (stream.position, stream.generation) == ("1-3", 1)
        assert await rest_of(stream) == [], "a stream ends once"


async def test_a_reader_goes_on_from_a_position(place: Place) -> None:
    delivery = started(place)
    emit(place, delivery, *range(5))
    complete(place, delivery)
    async with Aioq(place.url, name="test") as app:
        assert await rest_of(app.job("a").stream(after="1-3")) == [3, 4]
        assert await rest_of(app.job("a").stream(after="1-5")) == []


@pytest.mark.parametrize(
    "after", ["", "1", "0-1", "-1", "1-x", "1-1 ", "$", "1-" + "9" * 30, "٣-٣", 5]
)
async def test_what_is_no_position_is_refused(place: Place, after: Any) -> None:  # noqa: ANN401 - what is wrong is meant
    async with Aioq(place.url, name="test") as app:
        with pytest.raises(ValueError, match=r"is no position in a stream.*stream\.position"):
            app.job("a").stream(after=after)


async def test_more_items_than_one_read_takes_arrive_in_order(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "PER_READ", 7)
    delivery = started(place)
    emit(place, delivery, *range(50))
    complete(place, delivery)
    async with Aioq(place.url, name="test") as app:
        assert await rest_of(app.job("a").stream()) == list(range(50))


async def test_a_reader_that_fell_behind_is_told_and_goes_on(place: Place) -> None:
    delivery = started(place)
    emit(place, delivery, 1, 2)
    async with Aioq(place.url, name="test") as app:
        stream = app.job("a").stream()
        assert [await anext(stream), await anext(stream)] == [1, 2]
        for first in range(3, 10_103, 100):
            emit(place, delivery, *range(first, first + 100), first=first)
        complete(place, delivery)
        with pytest.raises(StreamGap, match="100 items that job a streamed are gone") as caught:
            await anext(stream)
        assert (caught.value.missed, caught.value.position) == (100, "1-102")
        assert stream.position == "1-102"
        assert await rest_of(stream) == list(range(103, 10_103))
        assert (await anext(app.job("a").stream(after=caught.value.position))) == 103


async def test_a_late_reader_has_missed_nothing(place: Place) -> None:
    """It begins with the oldest item that is kept; its position tells which one that is."""
    delivery = started(place)
    for first in range(1, 10_102, 101):
        emit(place, delivery, *range(first, first + 101), first=first)
    async with Aioq(place.url, name="test") as app:
        stream = app.job("a").stream()
        assert await anext(stream) == 202
        assert stream.position == "1-202"


async def test_a_reader_that_was_there_from_the_start_is_told_of_a_gap(place: Place) -> None:
    delivery = started(place)
    async with Aioq(place.url, name="test") as app:
        stream = app.job("a").stream()
        reading = asyncio.ensure_future(anext(stream))
        await eventually(lambda: "waiters" in place.dump()["j:a"])
        for _ in range(3):  # whatever the reader asked at its start has been answered by then
            await app.job("a").status()
        reading.cancel()
        await asyncio.wait([reading])
        for first in range(1, 10_101, 100):
            emit(place, delivery, *range(100), first=first)
        with pytest.raises(StreamGap) as caught:
            await anext(stream)
        assert caught.value.missed == 100


async def test_readers_are_told_of_a_new_generation(place: Place) -> None:
    delivery = started(place)
    emit(place, delivery, "a", "b")
    reap(place, "w1")
    [again] = deliver(place, worker="w2")
    async with Aioq(place.url, name="test") as app:
        stream = app.job("a").stream(after="1-1")
        assert await anext(stream) == "b"
        reading = asyncio.ensure_future(anext(stream))
        emit(place, again, "A")
        with pytest.raises(StreamRestarted, match="generation 2") as caught:
            await reading
        assert (caught.value.generation, caught.value.position) == (2, "2-0")
        assert (stream.generation, stream.position) == (2, "2-0")
        complete(place, again)
        assert await rest_of(stream) == ["A"]
        assert await rest_of(app.job("a").stream(after="2-0")) == ["A"]
        assert await rest_of(app.job("a").stream()) == ["A"], "a new reader has seen no other"


async def test_readers_are_told_of_a_generation_that_streams_nothing(place: Place) -> None:
    delivery = started(place)
    emit(place, delivery, "a")
    reap(place, "w1")
    [again] = deliver(place, worker="w2")
    emit(place, again)
    complete(place, again)
    async with Aioq(place.url, name="test") as app:
        stream = app.job("a").stream(after="1-1")
        with pytest.raises(StreamRestarted):
            await anext(stream)
        assert await rest_of(stream) == []
        assert await rest_of(app.job("a").stream()) == []


async def test_a_gap_in_a_new_generation_is_told_after_it(place: Place) -> None:
    delivery = started(place)
    emit(place, delivery, "a")
    reap(place, "w1")
    [again] = deliver(place, worker="w2")
    for first in range(1, 10_101, 100):
        emit(place, again, *range(100), first=first)
    async with Aioq(place.url, name="test") as app:
        stream = app.job("a").stream(after="1-1")
        with pytest.raises(StreamRestarted):
            await anext(stream)
        with pytest.raises(StreamGap) as caught:
            await anext(stream)
        assert caught.value.missed == 100


async def test_a_failure_ends_the_stream_after_its_last_item(place: Place) -> None:
    delivery = started(place)
    emit(place, delivery, "x")
    fail(place, delivery)
    async with Aioq(place.url, name="test") as app:
        stream = app.job("a").stream()
        assert await anext(stream) == "x"
        with pytest.raises(TaskFailed, match="no") as caught:
            await anext(stream)
        assert isinstance(caught.value.__cause__, ValueError)
        assert await rest_of(stream) == [], "a stream ends once"


async def test_an_error_too_large_for_a_push_ends_the_stream_too(place: Place) -> None:
    delivery = started(place)
    async with Aioq(place.url, name="test") as app:
        reading = asyncio.ensure_future(anext(app.job("a").stream()))
        await eventually(lambda: "waiters" in place.dump()["j:a"])
        error = encode_error(ValueError(*("x" * 3000 for _ in range(4))))
        assert len(error) > 8192
        settle(place, outcome(delivery, "f", "", error))
        with pytest.raises(TaskFailed, match="xxx"):
            await reading


async def test_a_revoked_job_ends_the_stream_so(place: Place) -> None:
    enqueue(place, new_job("a"))
    async with Aioq(place.url, name="test") as app:
        reading = asyncio.ensure_future(anext(app.job("a").stream()))
        await eventually(lambda: "waiters" in place.dump()["j:a"])
        assert await app.job("a").revoke()
        with pytest.raises(Revoked):
            await reading


async def test_a_job_that_streams_nothing_ends_without_an_item(place: Place) -> None:
    delivery = started(place)
    async with Aioq(place.url, name="test") as app:
        reading = asyncio.ensure_future(rest_of(app.job("a").stream()))
        await eventually(lambda: "waiters" in place.dump()["j:a"])
        complete(place, delivery)
        assert await reading == []


async def test_nobody_streams_under_an_unknown_id(place: Place) -> None:
    async with Aioq(place.url, name="test") as app:
        with pytest.raises(JobNotFound, match="'nobody'"):
            await anext(app.job("nobody").stream())


async def test_an_end_that_has_expired_is_said_to_be_gone(place: Place) -> None:
    delivery = started(place)
    emit(place, delivery, "x")
    fail(place, delivery)
    place.admin("DEL", f"{place.prefix}v:a")
    place.admin("HDEL", f"{place.prefix}j:a", "i")
    async with Aioq(place.url, name="test") as app:
        stream = app.job("a").stream(after="1-1")
        with pytest.raises(ResultExpired):
            await anext(stream)


async def test_a_replay_is_waited_for_by_who_has_not_come_to_the_end(
    place: Place, clock: Clock
) -> None:
    delivery = started(place)
    emit(place, delivery, "x")
    fail(place, delivery)
    place.run(letters.replay(place.prefix, nonce="n", job_ids=["a"]))
    clock.advance(10)
    [again] = deliver(place)
    async with Aioq(place.url, name="test") as app:
        stream = app.job("a").stream()
        assert await anext(stream) == "x"
        emit(place, again, "y")
        complete(place, again)
        with pytest.raises(StreamRestarted):
            await anext(stream)
        assert await rest_of(stream) == ["y"]


async def test_one_stream_is_read_by_one_reader(place: Place) -> None:
    started(place)
    async with Aioq(place.url, name="test") as app:
        stream = app.job("a").stream()
        reading = asyncio.ensure_future(anext(stream))
        await eventually(lambda: "waiters" in place.dump()["j:a"])
        with pytest.raises(RuntimeError, match=r"give each reader its own: job\.stream\(\)"):
            await anext(stream)
        reading.cancel()


async def test_a_reader_that_is_cancelled_loses_nothing(place: Place) -> None:
    delivery = started(place)
    async with Aioq(place.url, name="test") as app:
        stream = app.job("a").stream()
        for number in range(1, 21):
            for turns in range(number % 7):
                reading = asyncio.ensure_future(anext(stream))
                for _ in range(turns):
                    await asyncio.sleep(0)
                reading.cancel()
                await asyncio.wait([reading])
                assert reading.cancelled(), "nothing was there to read"
            emit(place, delivery, number, first=number)
            assert await anext(stream) == number


async def test_a_reader_that_leaves_is_forgotten(place: Place) -> None:
    delivery = started(place)
    emit(place, delivery, 1, 2)
    async with broker_on(place) as broker:
        watch = await broker.waiters.watch("a")
        watch.clear()
        emit(place, delivery, 3, first=3)
        async with asyncio.timeout(5):
            await watch.heard()
        watches = broker.waiters._watches  # pyright: ignore[reportPrivateUsage] - the leak itself
        assert len(watches["a"]) == 1
        del watch
        assert len(watches["a"]) == 0


async def test_a_hundred_readers_take_one_connection_more(place: Place) -> None:
    deliveries = [started(place, name) for name in ("a", "b")]
    async with Aioq(place.url, name="test") as app:
        streams_ = [app.job(name).stream() for name in ("a", "b") for _ in range(50)]
        reading = [asyncio.ensure_future(rest_of(each)) for each in streams_]
        await eventually(lambda: all("waiters" in place.dump()[f"j:{n}"] for n in ("a", "b")))
        for delivery in deliveries:
            emit(place, delivery, *range(10))
        await eventually(lambda: all(each.position == "1-10" for each in streams_))
        assert len(place.admin.others()) == 2
        for delivery in deliveries:
            complete(place, delivery)
        assert await asyncio.gather(*reading) == [list(range(10))] * 100


async def test_readers_at_one_position_share_a_read(place: Place) -> None:
    delivery = started(place)
    async with Aioq(place.url, name="test") as app:
        streams_ = [app.job("a").stream() for _ in range(100)]
        emit(place, delivery, 1)
        assert await asyncio.gather(*map(anext, streams_)) == [1] * 100
        reading = [asyncio.ensure_future(anext(each)) for each in streams_]
        for _ in range(3):  # all of them wait for a bell by then
            await app.job("a").status()
        before = reads(place)
        emit(place, delivery, 2, first=2)
        assert await asyncio.gather(*reading) == [2] * 100
        assert reads(place) - before < 50


def reads(place: Place) -> int:
    """Return how often items were read."""
    stats = place.admin("INFO", "commandstats").decode()
    return int(stats.partition("cmdstat_xrange:calls=")[2].partition(",")[0])


async def test_a_read_is_given_up_with_its_last_reader(place: Place) -> None:
    delivery = started(place)
    async with broker_on(place) as broker:
        both = [asyncio.ensure_future(streams.read(broker, "a", "0-0")) for _ in range(2)]
        await asyncio.sleep(0)
        both[0].cancel()
        assert await both[1] == []
        alone = asyncio.ensure_future(streams.read(broker, "a", "0-0"))
        await asyncio.sleep(0)
        alone.cancel()
        emit(place, delivery, "x")
        assert len(await streams.read(broker, "a", "0-0")) == 2


async def test_a_bell_that_never_came_is_made_up_for(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aioq.broker.waiters.ASK_AGAIN", 0.05)
    delivery = started(place)
    async with Aioq(place.url, name="test") as app:
        stream = app.job("a").stream()
        reading = asyncio.ensure_future(anext(stream))
        await eventually(lambda: "waiters" in place.dump()["j:a"])
        place.admin("HDEL", f"{place.prefix}j:a", "w")  # as by a failover to an older replica
        emit(place, delivery, "x")
        async with asyncio.timeout(5):
            assert await reading == "x"


async def test_a_reader_lives_through_lost_connections(place: Place) -> None:
    delivery = started(place)
    async with proxy_to(place.url) as proxy, Aioq(proxy.url, name="test") as app:
        stream = app.job("a").stream()
        for number in range(1, 6):
            reading = asyncio.ensure_future(anext(stream))
            if number == 1:
                await eventually(lambda: "waiters" in place.dump()["j:a"])
            proxy.drop()
            emit(place, delivery, number, first=number)
            async with asyncio.timeout(10):
                assert await reading == number


async def test_an_app_that_is_closed_tells_its_readers(place: Place) -> None:
    started(place)
    app = Aioq(place.url, name="test")
    reading = asyncio.ensure_future(anext(app.job("a").stream()))
    await eventually(lambda: "waiters" in place.dump()["j:a"])
    await app.aclose()
    with pytest.raises(BrokerUnavailable, match="the app was closed"):
        await reading


async def test_who_only_waits_for_the_result_is_not_troubled_by_items(place: Place) -> None:
    delivery = started(place)
    async with broker_on(place) as broker:
        waiting = asyncio.create_task(broker.waiters.wait("a"))
        await eventually(lambda: "waiters" in place.dump()["j:a"])
        emit(place, delivery, "x")
        assert (await broker.waiters.ask("a")).state == "-"
        assert not waiting.done()
        complete(place, delivery)
        assert (await waiting).state == "c"
