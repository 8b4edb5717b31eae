"""A workflow is sent through bad weather: all of its jobs are made once, or none begins."""

from collections import Counter

import pytest

from aioq import Aioq, BrokerUnavailable, JobState, Settings, chord, group
from aioq.embedded import PrivateServer
from aioq.testing import running
from tests.faults.proxy import proxy_to

app = Aioq(settings=Settings(enqueue_timeout=30))
impatient = Aioq(settings=Settings(enqueue_timeout=0.5))
runs: Counter[int] = Counter()


@app.task(name="note")
async def note(number: int) -> int:
    runs[number] += 1
    return number


@app.task
async def total(numbers: list[int]) -> int:
    runs[-1] += 1
    return sum(numbers)


@impatient.task(name="note")
async def note_impatiently(number: int) -> int:
    raise NotImplementedError


@pytest.fixture(autouse=True)
def nothing_has_run() -> None:
    runs.clear()


@pytest.mark.parametrize("size", [20, 700], ids=["one call", "in parts"])
@pytest.mark.parametrize("replies", [0, 3, 9], ids=["at once", "in a reply", "later"])
async def test_a_workflow_whose_replies_are_lost_is_made_once(size: int, replies: int) -> None:
    with PrivateServer() as server:
        async with proxy_to(server.url) as proxy, running(app, url=server.url) as worker:
            with app.connected_to(proxy.url):
                async with app:
                    proxy.cut_after(replies)
                    run = await chord([note.s(n) for n in range(size)], total.s()).enqueue()
            assert await app.job(run.id).result(20) == sum(range(size))
            await worker.run_until_idle()
    assert runs == Counter(range(-1, size))
    assert proxy.accepted >= 2


async def test_of_a_large_workflow_that_is_cut_off_half_way_nothing_begins() -> None:
    with PrivateServer() as server:
        async with proxy_to(server.url) as proxy, running(app, url=server.url) as worker:
            with impatient.connected_to(proxy.url):
                async with impatient:
                    known = await group(note_impatiently.s(-1) for _ in range(300)).enqueue()
                    await known.result(20)
                    runs.clear()
                    workflow = group(note_impatiently.s(n) for n in range(700))
                    sending = workflow.set(job_id="half").enqueue()
                    proxy.cut_after(6)
                    proxy.is_up = False  # what is there goes on; nobody comes back
                    with pytest.raises(BrokerUnavailable):
                        await sending
            await worker.run_until_idle()
            assert await (await note.enqueue(-7)).result(10) == -7
            assert await app.job("half").status() is JobState.PENDING
    assert runs == {-7: 1}
