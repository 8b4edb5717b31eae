"""Users with the rights that the guide lists, and with one right less."""

import pytest

from aioq import Aioq, BrokerUnavailable, JobState, Revoked, Settings, TaskFailed
from aioq.broker import inspect, rights, selftest
from aioq.broker.rights import PRODUCER, READER, WORKER, Role
from aioq.broker.weather import Refused
from aioq.testing import running
from aioq.worker import startup
from tests.broker.place import Place, broker_on
from tests.broker.users import acting_as

pytestmark = pytest.mark.broker

SETTINGS = Settings(startup_timeout=5)


async def refusal(place: Place, *rules: str) -> str:
    """Return what a worker with other rights than the documented ones says when it starts."""
    with acting_as(place.url, WORKER, *rules) as url:
        async with broker_on(place, url=url) as broker:
            with pytest.raises(Refused) as caught:
                await startup.check(broker, SETTINGS)
    assert place.snapshot() == {}, "nothing is left of a test that failed"
    return str(caught.value)


@pytest.mark.parametrize("command", rights.commands_of(WORKER))
async def test_each_right_that_is_missing_is_one_error_at_the_start(
    place: Place, command: str
) -> None:
    """So the documented list holds nothing that is not needed, and the self-test misses nothing."""
    message = await refusal(place, f"-{command.lower()}")
    assert f"ACL SETUSER worker +{command.lower()} (" in message
    assert f"no right to {command}" in message


async def test_the_error_names_the_script_and_the_guide(place: Place) -> None:
    message = await refusal(place, "-zpopmin")
    assert "the user 'worker' has no right to ZPOPMIN (" in message
    assert "settle.lua" in message
    assert "the guide 'Preparing a server' lists all" in message


async def test_all_that_is_missing_is_told_at_once(place: Place) -> None:
    message = await refusal(place, "-zpopmin", "-xadd", "-blpop", "resetchannels")
    granted = message.partition("ACL SETUSER worker ")[2].partition(" (")[0]
    assert set(granted.split()) == {"+zpopmin", "+xadd", "+blpop", "&{test.0}:*"}


async def test_keys_that_are_out_of_reach(place: Place) -> None:
    message = await refusal(place, "resetkeys", "~{other.0}:*")
    assert "no right to the keys {test.0}:*" in message
    assert "ACL SETUSER worker ~{test.0}:* (" in message


async def test_channels_that_are_out_of_reach(place: Place) -> None:
    """What a user is given where nobody thinks of them: none, since Redis 7."""
    message = await refusal(place, "resetchannels")
    assert "no right to the channels {test.0}:*" in message
    assert "ACL SETUSER worker &{test.0}:* (" in message


async def test_with_the_documented_rights_a_worker_sees_what_matters(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    with acting_as(place.url, WORKER) as url:
        async with broker_on(place, url=url) as broker:
            facts = await startup.check(broker, SETTINGS)
    assert (facts.policy, facts.appendonly, facts.fsync) == ("noeviction", False, None)
    assert "does not tell" not in caplog.text


async def test_a_worker_that_may_not_look_starts_with_a_warning(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    with acting_as(place.url, WORKER, "-info") as url:
        async with broker_on(place, url=url) as broker:
            facts = await startup.check(broker, SETTINGS)
    assert facts.policy is None
    assert "The server does not tell its maxmemory-policy" in caplog.text


app = Aioq(name="test", settings=SETTINGS)


@app.task
async def add(x: int, y: int) -> int:
    return x + y


@app.task(max_retries=1, default_retry_delay=0)
async def fail(text: str) -> None:
    raise ValueError(text)


@app.task
async def pass_on(x: int) -> int:
    job = await add.enqueue(x, 1)
    return await job.result(timeout=20)


@pytest.mark.parametrize("role", rights.ROLES, ids=lambda role: role.name)
async def test_each_role_may_run_its_scripts(place: Place, role: Role) -> None:
    place.is_sound = False  # a job that is settled by nobody
    with acting_as(place.url, role) as url:
        async with broker_on(place, url=url) as broker:
            for call, _ in selftest.steps():
                if call.script.name in role.scripts:
                    await broker.run(call._replace(arguments=(place.prefix, *call.arguments[1:])))


async def test_jobs_from_end_to_end_with_the_documented_rights(place: Place) -> None:
    with (
        acting_as(place.url, WORKER) as worker_url,
        acting_as(place.url, PRODUCER) as producer_url,
        acting_as(place.url, READER) as reader_url,
    ):
        producer, reader = Aioq(producer_url, name="test"), Aioq(reader_url, name="test")
        async with running(app, url=worker_url) as worker, producer, reader:
            send = producer.send_task
            job = await send(pass_on.name, args=(1,))
            failing = await send(fail.name, args=("boom",))
            expiring = await send(add.name, args=(1, 2), countdown=60, expires=0)
            delayed = await send(add.name, args=(3, 4), countdown=0.01)

            assert await job.result(timeout=20) == 2
            assert await delayed.result(timeout=20) == 7
            with pytest.raises(TaskFailed, match="boom"):
                await failing.result(timeout=20)
            with pytest.raises(Revoked):
                await expiring.result(timeout=20)

            assert (await reader.job(job.id).info()).state is JobState.SUCCESS
            assert await reader.job(job.id).result(timeout=20) == 2
            assert [each.worker for each in await inspect.workers(reader.client.broker())] == [
                worker.identity.name
            ]


def test_a_reader_has_no_command_that_writes(place: Place) -> None:
    described = place.admin("COMMAND", "INFO", *map(str.lower, rights.commands_of(READER)))
    writing = [name for name, _, flags, *_ in described if b"write" in flags]
    assert writing == []


async def test_a_reader_makes_no_job(place: Place) -> None:
    with acting_as(place.url, READER) as url:
        async with Aioq(url, name="test") as reader:
            with pytest.raises(BrokerUnavailable, match=r"enqueue\.lua: the server refused"):
                await reader.send_task("add", args=(1, 2))
    assert place.snapshot() == {}


async def test_a_producer_takes_no_job(place: Place) -> None:
    refused = pytest.raises(Refused, match=r"the user 'producer' has no right to .*, BLPOP;")
    with acting_as(place.url, PRODUCER) as url, refused:
        async with running(app, url=url):
            pass
    assert place.snapshot() == {}
