"""The stream of events: what the scripts write into it, and how it is read."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

import pytest

from aioq import Aioq, BrokerUnavailable, JobNotFound, JobState, JobUpdate, StreamGap
from aioq.broker import events, scripts, updates
from aioq.broker.broker import Broker
from aioq.broker.scripts import NewJob
from aioq.core.codec import encode_value
from aioq.core.events import STATES, read_position, read_steps
from aioq.embedded import PrivateServer
from tests.broker.calls import deliver, enqueue, fetch, outcome, reap, revoke, settle
from tests.broker.place import Place, broker_on, new_job
from tests.eventually import eventually
from tests.faults.proxy import proxy_to

pytestmark = pytest.mark.broker

NewServer = Callable[..., PrivateServer]


def open_events(place: Place) -> None:
    """Let the server keep events, as a worker does that starts."""
    call = scripts.register(place.prefix, worker="w1", lease_ms=10**9, events=True, limits=[])
    place.run(call)


def written(place: Place) -> list[str]:
    """Return the steps that the stream has, one text for each entry."""
    entries = place.admin("XRANGE", place.keys.events, "-", "+")
    found = [read_steps(fields) for _, fields in entries]
    return [
        " ".join(step.letter + step.job_id.decode() for step in steps) for steps in found if steps
    ]


def progress(place: Place, *reports: tuple[scripts.Delivery, bytes]) -> None:
    notes = [scripts.Update(each.job_id, each.entry_id, "p", data) for each, data in reports]
    place.run(scripts.update(place.prefix, count=len(notes), updates=notes))


async def take(source: AsyncIterator[JobUpdate], count: int) -> list[JobUpdate]:
    async with asyncio.timeout(20):
        return [await anext(source) for _ in range(count)]


async def all_of(source: AsyncIterator[JobUpdate]) -> list[JobUpdate]:
    async with asyncio.timeout(20):
        return [update async for update in source]


def states(told: list[JobUpdate]) -> str:
    letters = {state: letter for letter, state in STATES.items()}
    return " ".join(letters[update.state] + update.id for update in told)


def test_every_script_that_notes_a_step_writes_it() -> None:
    for name in [*scripts.names(), "fsck/jobs"]:
        source = scripts.read(name)
        notes = source.count("note_event(") - source.count("function note_event(")
        is_written = re.search(r"\n *write_events\(\)\n", source) is not None

        assert source.count("function write_events(") == is_written == (notes > 0), name


def test_a_call_writes_one_entry_however_many_jobs_it_has(place: Place) -> None:
    open_events(place)
    jobs = deliver(place, *(new_job(f"j{n}") for n in range(250)))
    settle(place, *(outcome(job, "c", 1000, b"R") for job in jobs))
    names = [job.job_id.decode() for job in jobs]

    assert written(place) == [" ".join(letter + name for name in names) for letter in "qsc"]


def test_a_single_job_is_told_of_at_once(place: Place) -> None:
    open_events(place)
    enqueue(place, new_job("a"), ask=False)

    assert written(place) == ["qa"]


def test_every_way_of_a_job_is_told(place: Place) -> None:
    open_events(place)
    good, bad, again, back = deliver(place, *map(new_job, ("a", "b", "c", "d")))
    settle(
        place,
        outcome(good, "c", 1000, b"R"),
        outcome(bad, "f", value=b"E"),
        outcome(again, "r", "+0", b"E"),
        outcome(back, "n", "+0"),
    )
    revoke(place, "c", "d")

    assert written(place) == ["qa qb qc qd", "sa sb sc sd", "ca fb rc qd", "xc xd"]


def test_an_expiry_is_told(place: Place) -> None:
    open_events(place)
    enqueue(place, NewJob("a", "default:5", "add", "", "1", "", b"P"))
    fetch(place)

    assert written(place) == ["qa", "xa"]


def test_what_a_dead_worker_held_is_queued_again(place: Place) -> None:
    open_events(place)
    place.is_sound = False
    deliver(place, new_job("a"))
    reap(place, "w1")

    assert written(place) == ["qa", "sa", "qa"]


def test_a_retry_of_a_held_job_is_told_like_any_other(place: Place) -> None:
    open_events(place)
    enqueue(place, NewJob("a", "default:5 c:n:", "add", "", "", "", b"P"))
    [job] = fetch(place).deliveries
    settle(place, outcome(job, "c", 1000, b"R"))

    assert written(place) == ["qa", "sa", "ca"]


def test_a_job_that_is_there_already_is_not_told_of_twice(place: Place) -> None:
    open_events(place)
    for _ in range(2):
        enqueue(place, new_job("a"))
        enqueue(place, new_job("b"), ask=False)

    assert written(place) == ["qa", "qb"]


def test_progress_is_told_with_its_data_unless_that_is_large(place: Place) -> None:
    open_events(place)
    small, large = deliver(place, new_job("a"), new_job("b"))
    progress(place, (small, b" \n\x00"), (large, b"x" * 513))
    entries = place.admin("XRANGE", place.keys.events, "-", "+")

    assert entries[-1][1] == [b"p", b"a  \n\x00", b"p", b"b"]


def test_nothing_is_written_where_no_worker_has_asked_for_it(place: Place) -> None:
    [job] = deliver(place, new_job("a"))
    progress(place, (job, b"x"))
    settle(place, outcome(job, "c", 1000, b"R"))

    assert place.admin("EXISTS", place.keys.events) == 0


def test_the_newest_worker_decides_whether_events_are_kept(place: Place) -> None:
    open_events(place)
    enqueue(place, new_job("a"))
    open_events(place)
    assert written(place) == ["qa"]
    place.run(scripts.register(place.prefix, worker="w2", lease_ms=1000, limits=[]))

    assert place.admin("EXISTS", place.keys.events) == 0


def test_the_stream_is_bounded_in_memory(place: Place) -> None:
    open_events(place)
    longest = [f"{n:04}{'x' * 124}" for n in range(250)]
    jobs = deliver(place, *map(new_job, longest))
    for _ in range(8):  # 250 reports of 512 bytes each, which alone would be 1 MB
        progress(place, *((job, b"p" * 512) for job in jobs))
    size = place.admin("MEMORY", "USAGE", place.keys.events, "SAMPLES", 0)
    assert size < 1_000_000

    one = deliver(place, new_job("a"))[0]
    for _ in range(150):
        progress(place, *([(one, b"p")] * 250))
    assert place.admin("XLEN", place.keys.events) < 1000
    settle(place, *(outcome(job, "c", 1000, b"R") for job in [*jobs, one]))


async def test_a_finished_job_is_told_from_its_start(place: Place) -> None:
    open_events(place)
    [job] = deliver(place, new_job("a"))
    progress(place, (job, encode_value((1, 2, None, dict[str, int]()))))
    settle(place, outcome(job, "c", 100_000, b"R"))
    async with broker_on(place) as broker:
        told = await all_of(updates.of_job(broker, "a"))

    assert states(told) == "qa sa pa ca"
    assert [update.progress.current for update in told if update.progress] == [1]
    assert all(update.position for update in told)


async def test_steps_that_are_gone_are_told_from_the_record(place: Place) -> None:
    open_events(place)
    [job] = deliver(place, new_job("a"))
    place.admin("XTRIM", place.keys.events, "MAXLEN", 0)
    async with broker_on(place) as broker, aclosing(updates.of_job(broker, "a")) as told:
        assert states(await take(told, 1)) == "sa"
        settle(place, outcome(job, "c", 100_000, b"R"))
        assert states(await all_of(told)) == "ca"


async def test_where_no_events_are_kept_a_job_has_a_state_and_an_end(place: Place) -> None:
    enqueue(place, new_job("a"))
    async with broker_on(place) as broker, aclosing(updates.of_job(broker, "a")) as told:
        assert states(await take(told, 1)) == "qa"
        [job] = deliver(place)
        settle(place, outcome(job, "c", 100_000, b"R"))
        rest = await all_of(told)

    assert rest[-1].state is JobState.SUCCESS
    assert [update.state.is_final for update in rest].count(True) == 1


async def test_events_that_are_switched_on_or_off_disturb_no_reader(place: Place) -> None:
    enqueue(place, new_job("a"))
    enqueue(place, new_job("b"))
    async with broker_on(place) as broker:
        first, second = updates.of_job(broker, "a"), updates.of_job(broker, "b")
        async with aclosing(first), aclosing(second):
            assert states([*await take(first, 1), *await take(second, 1)]) == "qa qb"
            open_events(place)
            one, two = deliver(place)
            settle(place, outcome(one, "c", 100_000, b"R"))
            assert (await all_of(first))[-1].state is JobState.SUCCESS
            place.admin("DEL", place.keys.events)
            settle(place, outcome(two, "c", 100_000, b"R"))
            assert (await all_of(second))[-1].state is JobState.SUCCESS


async def test_a_job_that_nobody_knows_is_not_found(place: Place) -> None:
    async with broker_on(place) as broker:
        with pytest.raises(JobNotFound):
            await all_of(updates.of_job(broker, "nobody"))


async def test_a_replayed_job_has_another_life(place: Place) -> None:
    from aioq.broker import letters  # noqa: PLC0415 - only here

    open_events(place)
    [job] = deliver(place, new_job("a"))
    settle(place, outcome(job, "f", value=b"E"))
    place.run(letters.replay(place.prefix, nonce="n", job_ids=["a"]))
    async with broker_on(place) as broker, aclosing(updates.of_job(broker, "a")) as told:
        assert states(await take(told, 1)) == "qa"
        [job] = deliver(place)
        settle(place, outcome(job, "c", 100_000, b"R"))
        assert states(await all_of(told)) == "sa ca"


async def test_all_jobs_are_told_in_order_and_a_reader_may_go_on_anywhere(place: Place) -> None:
    open_events(place)
    jobs = deliver(place, *map(new_job, "abc"))
    settle(place, *(outcome(job, "c", 1000, b"R") for job in jobs))
    expected = ["qa", "qb", "qc", "sa", "sb", "sc", "ca", "cb", "cc"]
    async with broker_on(place) as broker:
        start = read_position("0-0")
        told = await take(updates.of_all(broker, start), 9)
        assert states(told).split() == expected
        for number, update in enumerate(told[:-1], start=1):
            rest = updates.of_all(broker, read_position(update.position))
            async with aclosing(rest):
                assert states(await take(rest, 9 - number)).split() == expected[number:]


async def test_a_reader_without_a_place_hears_what_happens_from_now_on(place: Place) -> None:
    open_events(place)
    enqueue(place, new_job("old"))
    async with Aioq(place.url, name="test") as app, aclosing(app.events()) as told:
        first = asyncio.ensure_future(take(told, 1))
        await is_live(app.client.broker())
        enqueue(place, new_job("new"))

        assert states(await first) == "qnew"


async def is_live(broker: Broker) -> None:
    await eventually(lambda: broker.events.position.ms > 0)


async def test_who_begins_too_far_back_is_told_where_to_go_on(place: Place) -> None:
    open_events(place)
    for name in "abc":
        enqueue(place, new_job(name))
    async with broker_on(place) as broker:
        told = await take(updates.of_all(broker, read_position("0-0")), 3)
        place.admin("XTRIM", place.keys.events, "MAXLEN", 1)
        with pytest.raises(StreamGap) as caught:
            await take(updates.of_all(broker, read_position(told[0].position)), 1)
        rest = updates.of_all(broker, read_position(caught.value.position))
        async with aclosing(rest):
            assert states(await take(rest, 1)) == "qc"


async def test_a_slow_reader_reads_from_the_server_what_it_did_not_keep(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(updates, "UNREAD", 3)
    monkeypatch.setattr(events, "ENTRIES", 7)
    open_events(place)
    enqueue(place, new_job("first"))
    async with broker_on(place) as broker:
        told = updates.of_all(broker, read_position("0-0"))
        async with aclosing(told):
            await take(told, 1)
            names = [f"j{n}" for n in range(50)]
            for name in names:
                enqueue(place, new_job(name))
            await eventually(lambda: broker.events.position.entry_id == last_id(place))

            assert [update.id for update in await take(told, 50)] == names


def last_id(place: Place) -> str:
    return place.admin("XREVRANGE", place.keys.events, "+", "-", "COUNT", 1)[0][0].decode()


async def test_a_slow_reader_whose_events_are_gone_is_told(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(updates, "UNREAD", 3)
    open_events(place)
    enqueue(place, new_job("first"))
    async with broker_on(place) as broker:
        told = updates.of_all(broker, read_position("0-0"))
        async with aclosing(told):
            await take(told, 1)
            for n in range(10):
                enqueue(place, new_job(f"j{n}"))
            await eventually(lambda: broker.events.position.entry_id == last_id(place))
            place.admin("XTRIM", place.keys.events, "MAXLEN", 2)
            with pytest.raises(StreamGap):
                await take(told, 10)


async def test_all_readers_share_one_connection_that_goes_with_the_last(place: Place) -> None:
    open_events(place)
    jobs = [f"j{n}" for n in range(100)]
    enqueue(place, *map(new_job, jobs))
    async with broker_on(place) as broker:
        readers = [asyncio.ensure_future(all_of(updates.of_job(broker, name))) for name in jobs]
        await eventually(lambda: broker.events.readers == 100)
        await eventually(lambda: len(place.admin.others()) == 2)
        deliveries = deliver(place)
        settle(place, *(outcome(each, "c", 100_000, b"R") for each in deliveries))

        for name, told in zip(jobs, await asyncio.gather(*readers), strict=True):
            assert states(told) == f"q{name} s{name} c{name}"
        await eventually(lambda: len(place.admin.others()) == 1)


async def test_closing_the_app_ends_its_readers(place: Place) -> None:
    open_events(place)
    enqueue(place, new_job("a"))
    async with broker_on(place) as broker:
        one = updates.of_job(broker, "a")
        everything = updates.of_all(broker, read_position("0-0"))
        await take(one, 1)
        await take(everything, 1)
        waiting = [asyncio.ensure_future(take(each, 1)) for each in (one, everything)]
        await asyncio.sleep(0)
        await broker.aclose()
        for each in waiting:
            with pytest.raises(BrokerUnavailable, match="closed"):
                await each


async def test_readers_survive_a_lost_connection(place: Place) -> None:
    open_events(place)
    enqueue(place, new_job("a"))
    async with proxy_to(place.url) as proxy, broker_on(place, url=proxy.url) as broker:
        one = updates.of_job(broker, "a")
        everything = updates.of_all(broker, read_position("0-0"))
        assert states([*await take(one, 1), *await take(everything, 1)]) == "qa qa"
        proxy.drop()
        [job] = deliver(place)
        settle(place, outcome(job, "c", 100_000, b"R"))

        assert states(await all_of(one)) == "sa ca"
        async with aclosing(everything):
            assert states(await take(everything, 2)) == "sa ca"


async def test_readers_survive_a_server_that_is_started_anew(new_server: NewServer) -> None:
    server = new_server(appendonly=True)
    with Place(server.url) as place:
        open_events(place)
        enqueue(place, new_job("a"))
        async with broker_on(place) as broker:
            one = updates.of_job(broker, "a")
            assert states(await take(one, 1)) == "qa"
            server.kill()
            await asyncio.to_thread(server.restart)
            place.connect()
            [job] = deliver(place)
            settle(place, outcome(job, "c", 100_000, b"R"))

            assert (await all_of(one))[-1].state is JobState.SUCCESS
