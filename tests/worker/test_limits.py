"""Limits and the worker: what it declares, and jobs that come past the gates of their limits."""

# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false

import pytest

from aioq import Aioq, JobState, Settings, TaskFailed, TokenBucket
from aioq.core import codec
from aioq.testing import running
from tests.broker.calls import crash
from tests.broker.place import Place, new_job
from tests.eventually import eventually

app = Aioq(name="test", settings=Settings(lease=1))
elsewhere = Aioq(name="test")
"""It knows none of the code here, so its jobs come past the gates."""


@app.task(rate_limit=TokenBucket(1, per=3600, key=lambda user_id, **_: user_id), max_retries=0)
async def remind(user_id: int) -> int:
    return user_id


@app.task(
    rate_limit=TokenBucket(1, per=3600, key=lambda table, **_: table["key"]),
    autoretry_for=(Exception,),
)
async def look_up(table: dict[str, int]) -> int:
    return table["key"]


async def declared(place: Place) -> list[bytes]:
    return [each for each in place.admin("HKEYS", f"{place.prefix}lc") if each[:2] != b"s:"]


@pytest.mark.broker
async def test_arguments_that_do_not_fit_fail_a_job_that_came_past_the_gates(place: Place) -> None:
    async with running(app, url=place.url):
        with elsewhere.connected_to(place.url):
            job = await elsewhere.send_task(remind.name, ["nobody"])
            with pytest.raises(TaskFailed, match=r"InvalidArguments: argument 'user_id'"):
                await job.result(timeout=10)
            await elsewhere.aclose()


@pytest.mark.broker
async def test_a_key_that_cannot_be_worked_out_fails_the_job_without_a_retry(place: Place) -> None:
    async with running(app, url=place.url):
        with elsewhere.connected_to(place.url):
            job = await elsewhere.send_task(look_up.name, [{"kee": 3}])
            with pytest.raises(TaskFailed, match=r"the key of rate_limit raised KeyError: 'key'"):
                await job.result(timeout=10)
            assert (await job.info()).retries == 0
            await elsewhere.aclose()


@pytest.mark.broker
async def test_a_job_that_came_past_the_gates_is_sent_there_and_keeps_its_arguments(
    place: Place,
) -> None:
    async with running(app, url=place.url):
        with elsewhere.connected_to(place.url):
            first = await elsewhere.send_task(remind.name, [7])
            assert await first.result(timeout=10) == 7
            second = await elsewhere.send_task(remind.name, [7])
            await eventually(lambda: place.admin("EXISTS", f"{place.prefix}y:{second.id}"))
            info = await second.info()
            assert (info.state, info.args, info.deliveries) == (JobState.PENDING, (7,), 0)
            await app.limits.set(remind.name, "1000/s")
            assert await second.result(timeout=10) == 7
            await elsewhere.aclose()


@pytest.mark.broker
async def test_a_suspect_that_is_sent_to_the_gates_makes_room_for_the_next(place: Place) -> None:
    for user_id, job_id in enumerate(("a", "b")):
        payload = codec.encode_payload(
            (user_id,), {}, None, task=remind.name, compression=None, threshold=10_000
        )
        crash(place, new_job(job_id, task=remind.name, payload=payload), times=2)
        place.admin("ZADD", f"{place.prefix}d", 1, job_id)
    async with running(app, url=place.url):
        for job_id in ("a", "b"):
            await app.job(job_id).result(timeout=10)


@pytest.mark.broker
async def test_a_server_that_has_forgotten_everything_is_told_the_limits_again(
    place: Place,
) -> None:
    names = sorted(f"b:{task.name}".encode() for task in (remind, look_up))
    async with running(app, url=place.url):
        assert sorted(await declared(place)) == names
        place.admin("FLUSHALL")

        async def is_told() -> bool:
            return sorted(await declared(place)) == names

        await eventually(is_told)


@pytest.mark.broker
async def test_what_the_code_has_no_more_goes_when_its_newest_worker_starts(place: Place) -> None:
    for name, source in (("c:web", "web:app"), ("c:gone", app.source)):
        place.admin("HSET", f"{place.prefix}lc", name, f"5 {source} 3")
    async with running(app, url=place.url):
        assert sorted(await declared(place)) == sorted(
            [b"c:web", *(f"b:{task.name}".encode() for task in (remind, look_up))]
        )
