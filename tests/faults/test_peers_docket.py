"""What goes wrong in docket 0.27, each failure by its number in a reading of its code.

 1  a full worker looks for work at intervals, and a job that ends does not wake it: here
 2  deliveries have no limit
    test_a_task_that_kills_its_worker_is_buried_and_its_neighbours_go_free
 3  after a blip a worker waits for all it runs, and forgets the first job that it takes
    test_a_blip_while_a_long_job_runs_keeps_no_other_job_waiting,
    test_a_delivery_whose_reply_is_lost_waits_for_no_lease_and_runs_once
 4  draining has no end, and gives the lease up
    test_a_draining_worker_keeps_its_lease_to_the_end,
    test_jobs_that_outlast_the_grace_are_given_back
 5  an idle worker asks and asks: here
 6  a job that was taken over ends twice
    test_a_late_failure_does_not_overwrite_the_success_of_another_worker
 7  who must wait has taken a slot by then, and limits are shared by whoever has an argument of the
    same name: here, and
    test_a_job_that_must_wait_takes_no_slot_and_holds_nobody_up
 8  a debounced job runs with the oldest arguments: here, and
    test_debounced_jobs_run_once_with_what_came_last_whatever_else_is_due
 9  whoever can write to the server can run code: here
11  a job that has come due cannot be taken out of its stream, and jobs share the names of other
    keys: here
12  a worker that reconnects misses a cancellation: here, and
    test_a_lost_push_is_made_good_by_the_next_beat,
    test_the_worker_listens_again_after_its_subscription_was_lost
"""

import asyncio
import pickle
import re
import time
from pathlib import Path

import pytest

from aioq import Aioq, Concurrency, JobState, Revoked, Settings, TaskFailed, Unique
from aioq.broker import scripts
from aioq.broker.keys import TABLE
from aioq.core import codec
from aioq.testing import running
from tests.broker.place import Place
from tests.eventually import eventually
from tests.faults.proxy import proxy_to

PATIENCE = 30
app = Aioq(name="test", settings=Settings(lease=1))
ran: list[object] = []
together: set[str] = set()
door: asyncio.Event


@pytest.fixture(autouse=True)
async def nothing_has_run() -> None:
    global door
    door = asyncio.Event()
    ran.clear()
    together.clear()


@app.task
async def quick(number: int) -> int:
    ran.append(number)
    return number


@app.task
async def held(name: str) -> str:
    ran.append(name)
    await door.wait()
    return name


def by_key(key: int, text: str) -> int:
    return key


@app.task(unique=Unique(key=by_key, on_conflict="debounce"))
async def late(key: int, text: str) -> str:
    ran.append(text)
    return text


def by_customer(customer: int) -> int:
    return customer


@app.task(max_concurrency=Concurrency(1, key=by_customer))
async def bill(customer: int) -> None:
    together.add("bill")
    await door.wait()


@app.task(max_concurrency=Concurrency(1, key=by_customer))
async def mail(customer: int) -> None:
    together.add("mail")
    await door.wait()


async def test_docket_1_a_full_worker_takes_the_next_job_as_soon_as_one_has_ended(
    place: Place,
) -> None:
    """With one slot, and a look each quarter of a second, these would take a minute and more."""
    async with running(app, url=place.url, concurrency=1):
        jobs = await quick.enqueue_many([(n,) for n in range(300)])
        began = time.monotonic()
        await jobs[-1].result(timeout=PATIENCE)

    assert ran == list(range(300))
    assert time.monotonic() - began < 300 * 0.25 / 3


async def test_docket_5_an_idle_worker_asks_for_next_to_nothing(place: Place) -> None:
    """It waits in one command that is answered when there is work."""

    def commands() -> int:
        lines = place.admin("INFO", "commandstats").decode().splitlines()
        sent = ("cmdstat_evalsha:", "cmdstat_eval:", "cmdstat_blpop:", "cmdstat_ping:")
        asked = [line for line in lines if line.startswith(sent)]  # not what scripts call
        calls = [line.partition("calls=")[2].partition(",")[0] for line in asked]
        return sum(int(count) for count in calls if count)

    idle = Aioq(name="test", settings=Settings(lease=30))
    async with running(idle, url=place.url):
        job = await idle.send_task("nobody-knows", queue="elsewhere")
        assert await job.status() is JobState.PENDING
        before, seconds = commands(), 3
        await asyncio.sleep(seconds)  # what is looked at is what happens while nothing does
        asked = commands() - before
        assert await job.revoke()

    assert asked / seconds < 5


async def test_docket_7_limits_of_two_tasks_are_two_though_their_arguments_are_called_alike(
    place: Place,
) -> None:
    async with running(app, url=place.url):
        jobs = [await bill.enqueue(1), await mail.enqueue(1)]
        await eventually(lambda: together == {"bill", "mail"})
        door.set()
        for job in jobs:
            await job.result(timeout=PATIENCE)


async def test_docket_8_a_debounced_job_runs_with_the_newest_arguments(place: Place) -> None:
    with app.connected_to(place.url):
        jobs = [await late.options(countdown=0.2).enqueue(7, text) for text in ("a", "b", "c")]
        assert {job.id for job in jobs} == {jobs[0].id}
        async with running(app, url=place.url):
            assert await jobs[0].result(timeout=PATIENCE) == "c"
        await app.aclose()

    assert ran == ["c"]


class Trap:
    """What would write a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self._path,)


async def test_docket_9_what_lies_on_the_server_is_never_code(place: Place, tmp_path: Path) -> None:
    trap = bytes([codec.VERSION]) + pickle.dumps(Trap(tmp_path / "sprung"))
    async with running(app, url=place.url):
        made = scripts.NewJob("j1", "default:5", quick.name, "", "", "", trap)
        job = app.job(made.job_id)
        await app.client.broker().enqueue(made)
        with pytest.raises(TaskFailed):
            await job.result(timeout=PATIENCE)

    assert not (tmp_path / "sprung").exists()
    assert ran == []


async def test_docket_11_a_job_that_has_come_due_leaves_its_stream_when_it_is_revoked(
    place: Place,
) -> None:
    """It lies in its lane then, and no list of delayed jobs knows it any more."""
    async with running(app, url=place.url, concurrency=1):
        first = await held.enqueue("first")
        await eventually(lambda: ran == ["first"])
        job = await quick.options(countdown=0.1, queue="other").enqueue(1)
        lane = f"{place.prefix}s:other:5"
        nudge = await quick.options(queue="default").enqueue(2)
        door.set()
        await nudge.result(timeout=PATIENCE)
        await eventually(lambda: place.admin("XLEN", lane) == 1)
        assert await job.revoke()

        assert place.admin("XLEN", lane) == 0
        with pytest.raises(Revoked):
            await job.result(timeout=PATIENCE)
        await first.result(timeout=PATIENCE)
    assert ran == ["first", 2]


async def test_docket_11_a_job_may_be_called_as_any_key_is(place: Place) -> None:
    names = [re.sub(r"<\w+>", "a", kind.name).replace(" ", "") for kind in TABLE]
    async with running(app, url=place.url) as worker:
        jobs = [
            await quick.options(job_id=name, countdown=0.01).enqueue(n)
            for n, name in enumerate(names)
        ]
        for job in jobs:
            assert await job.result(timeout=PATIENCE) is not None
        await worker.run_until_idle()


async def test_docket_12_a_worker_that_reconnects_hears_of_a_revoke_in_the_meantime(
    place: Place,
) -> None:
    other = Aioq(name="test")
    with other.connected_to(place.url):
        async with proxy_to(place.url) as proxy, running(app, url=proxy.url):
            job = await held.enqueue("job")
            await eventually(lambda: ran == ["job"])
            proxy.is_up = False
            proxy.reset()
            await eventually(lambda: proxy.open == 0)
            assert await other.job(job.id).revoke()
            proxy.is_up = True
            with pytest.raises(Revoked):
                await other.job(job.id).result(timeout=PATIENCE)
        await other.aclose()
