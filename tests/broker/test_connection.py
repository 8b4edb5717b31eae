"""Connections: pipelined, never half read, and everything that can happen to them is weather."""

import asyncio
from collections.abc import Callable
from functools import partial

import pytest

from aioq.broker import connection, scripts
from aioq.broker.connection import Connection, dial
from aioq.broker.resp import ReplyError
from aioq.broker.topology import parse
from aioq.broker.weather import Refused, Weather, judge
from aioq.core.errors import BrokerFull, BrokerUnavailable
from aioq.embedded import PrivateServer
from tests.broker.calls import deliver
from tests.broker.place import Place, broker_on, new_job
from tests.eventually import eventually
from tests.faults.proxy import proxy_to

pytestmark = pytest.mark.broker

NewServer = Callable[..., PrivateServer]
SECRET = "hunter2-is-the-password"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a broker count a reply as lost after a fifth of a second."""
    monkeypatch.setattr("aioq.broker.broker.dial", partial(dial, timeout=0.2))
    monkeypatch.setitem(connection.OPENING, "socket_timeout", 0.2)
    monkeypatch.setitem(connection.OPENING, "socket_connect_timeout", 0.2)


async def dialed(url: str, timeout: float = 10.0) -> Connection:
    return await dial(parse(url, prefix="{test.0}:"), timeout=timeout)


# The connection itself


async def test_many_calls_are_in_flight_and_each_gets_its_own_reply(place: Place) -> None:
    opened = await dialed(place.url)
    futures = [opened.call("ECHO", str(n)) for n in range(5000)]
    assert await asyncio.gather(*futures) == [str(n).encode() for n in range(5000)]
    opened.drop()


async def test_a_caller_that_is_cancelled_disturbs_nobody(place: Place) -> None:
    opened = await dialed(place.url)
    futures = [opened.call("ECHO", str(n)) for n in range(10)]
    for cancelled in futures[::2]:
        cancelled.cancel()
    assert await asyncio.gather(*futures[1::2]) == [b"1", b"3", b"5", b"7", b"9"]
    assert await opened.call("ECHO", "after") == b"after"
    opened.drop()


async def test_an_error_reply_is_raised_where_it_belongs(place: Place) -> None:
    opened = await dialed(place.url)
    good, bad, after = opened.call("ECHO", "1"), opened.call("NONSENSE"), opened.call("ECHO", "2")
    assert await good == b"1"
    with pytest.raises(ReplyError, match="NONSENSE"):
        await bad
    assert await after == b"2"
    opened.drop()


async def test_a_command_that_cannot_be_packed_shifts_no_replies(place: Place) -> None:
    """Such as a lone surrogate in the id that `app.job(id)` was given."""
    opened = await dialed(place.url, timeout=1)
    with pytest.raises(UnicodeEncodeError):
        await opened.call("ECHO", "\ud800")
    first, second = opened.call("ECHO", "1"), opened.call("ECHO", "2")
    try:
        assert await asyncio.gather(first, second) == [b"1", b"2"]
    finally:
        opened.drop()


async def test_what_is_in_flight_when_the_connection_is_lost_gets_weather(place: Place) -> None:
    lost: list[bool] = []
    async with proxy_to(place.url) as proxy:
        opened = await dial(parse(proxy.url, prefix="{test.0}:"), on_lost=lambda: lost.append(True))
        waiting = [opened.call("BLPOP", "nothing", 0), opened.call("PING")]
        proxy.drop()
        for each in waiting:
            with pytest.raises(Weather):
                await each
        assert (opened.is_lost, lost) == (True, [True])
        with pytest.raises(Weather):
            await opened.call("PING")


async def test_a_connection_that_answers_nothing_is_lost_after_a_while(place: Place) -> None:
    async with proxy_to(place.url) as proxy:
        opened = await dialed(proxy.url, timeout=0.05)
        assert await opened.call("PING") == b"PONG"
        proxy.stall()
        with pytest.raises(Weather, match=r"did not answer within 0\.05 s"):
            await opened.call("PING")
        assert opened.is_lost


async def test_a_connection_without_questions_is_never_too_slow(place: Place) -> None:
    opened = await dialed(place.url, timeout=0.01)
    before = asyncio.get_running_loop().time()
    await opened.call("PING")
    await eventually(lambda: asyncio.get_running_loop().time() > before + 0.05)
    assert await opened.call("PING") == b"PONG"
    opened.drop()


@pytest.mark.parametrize("delay", [0.0, 0.001])
@pytest.mark.parametrize("count", [0, 1, 5, 29])
async def test_a_reply_that_is_cut_anywhere_is_a_lost_reply(
    place: Place, count: int, delay: float
) -> None:
    async with proxy_to(place.url) as proxy:
        opened = await dialed(proxy.url)
        proxy.delay = delay
        proxy.cut_after(count)
        with pytest.raises(Weather):
            await opened.call("ECHO", "x" * 24)


async def test_a_server_that_is_not_there_is_weather_that_names_the_address() -> None:
    with pytest.raises(
        Weather, match=r"cannot reach redis://127\.0\.0\.1:1/0: .*Connect call failed"
    ):
        await dialed("redis://127.0.0.1:1")
    with pytest.raises(Weather, match=r"cannot reach unix:///nowhere: .*No such file"):
        await dialed("unix:///nowhere")


async def test_a_server_that_hangs_up_at_once_is_weather(place: Place) -> None:
    async with proxy_to(place.url) as proxy:
        proxy.is_up = False
        with pytest.raises(Weather, match="cannot reach"):
            await dialed(proxy.url)


async def test_what_speaks_another_protocol_is_weather() -> None:
    def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(Weather):
        opened = await dialed(f"redis://127.0.0.1:{port}")
        await opened.call("PING")
    server.close()


async def test_a_reply_that_nobody_asked_for_is_a_lost_connection(place: Place) -> None:
    loop = asyncio.get_running_loop()
    complaints: list[object] = []
    loop.set_exception_handler(lambda _, what: complaints.append(what))
    writers: list[asyncio.StreamWriter] = []

    def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        writer.write(b"+OK\r\n" * 2)  # to what redis-py says when it connects

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    opened = await dialed(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    writers[0].write(b"+OK\r\n")
    await eventually(lambda: opened.is_lost)
    writers[0].close()
    server.close()
    assert not complaints, "it is no error of ours"


# The broker on its connection


async def test_a_lost_reply_of_an_enqueue_makes_one_job(place: Place) -> None:
    async with proxy_to(place.url) as proxy, broker_on(place, url=proxy.url) as broker:
        await broker.connect()
        await broker.enqueue(new_job("warm"))
        proxy.cut_after(0)
        assert (await broker.enqueue(new_job("a")))[0]
        proxy.cut_after(3)
        assert (await broker.enqueue(new_job("mine", nonce="n1")))[0]
        assert proxy.accepted == 3
    assert [each.job_id for each in deliver(place)] == [b"warm", b"a", b"mine"]


async def test_enqueues_of_one_turn_share_one_call_and_one_fate(place: Place) -> None:
    async with proxy_to(place.url) as proxy, broker_on(place, url=proxy.url) as broker:
        await broker.connect()
        proxy.cut_after(0)
        made = await asyncio.gather(*(broker.enqueue(new_job(str(n))) for n in range(100)))
        assert all(created for created, *_ in made)
        assert proxy.accepted == 2
    assert len(deliver(place)) == 100


async def test_callers_that_come_while_a_connection_is_opened_share_it(place: Place) -> None:
    async with proxy_to(place.url) as proxy, broker_on(place, url=proxy.url) as broker:
        proxy.delay = 0.01
        await asyncio.gather(*(broker.look(str(n)) for n in range(50)))
        assert proxy.accepted == 1


async def test_a_caller_that_is_cancelled_while_connecting_takes_nothing_from_the_others(
    place: Place,
) -> None:
    async with proxy_to(place.url) as proxy, broker_on(place, url=proxy.url) as broker:
        proxy.delay = 0.01
        gone = asyncio.create_task(broker.look("a"))
        stays = asyncio.create_task(broker.look("b"))
        await asyncio.sleep(0)
        gone.cancel()
        assert (await stays).record == {}


async def test_closing_while_a_connection_is_being_opened_leaves_none_behind(place: Place) -> None:
    async with proxy_to(place.url) as proxy, broker_on(place, url=proxy.url) as broker:
        proxy.delay = 0.05
        asking = asyncio.create_task(broker.look("a"))
        await eventually(lambda: proxy.accepted)
        asking.cancel()
        await broker.aclose()
        proxy.delay = 0.0
        await eventually(lambda: proxy.open == 0, seconds=2)


async def test_a_half_open_connection_is_replaced(place: Place, impatient: None) -> None:
    async with proxy_to(place.url) as proxy, broker_on(place, url=proxy.url) as broker:
        await broker.enqueue(new_job("a"))
        proxy.stall()
        assert (await broker.enqueue(new_job("b")))[0]
        assert proxy.accepted == 2
    assert [each.job_id for each in deliver(place)] == [b"a", b"b"]


async def test_a_half_open_connection_costs_no_more_than_the_time_an_enqueue_has(
    place: Place,
) -> None:
    """The way is free again, so `enqueue_timeout` must be enough for the job to be made."""
    async with (
        proxy_to(place.url) as proxy,
        broker_on(place, url=proxy.url, enqueue_timeout=1.0) as broker,
    ):
        await broker.enqueue(new_job("a"))
        proxy.stall()
        async with asyncio.timeout(3):
            assert (await broker.enqueue(new_job("b")))[0]


async def test_a_frozen_server_is_given_up_after_the_time_an_enqueue_has(
    place: Place, new_server: NewServer
) -> None:
    server = new_server()
    async with broker_on(place, url=server.url, enqueue_timeout=0.3) as broker:
        await broker.enqueue(new_job("a"))
        server.pause()
        try:
            async with asyncio.timeout(3):
                with pytest.raises(BrokerUnavailable, match=r"tried for 0\.3 s"):
                    await broker.enqueue(new_job("b"))
        finally:
            server.resume()


async def test_without_patience_there_is_one_attempt(place: Place) -> None:
    async with broker_on(place, enqueue_timeout=0) as broker:
        assert (await broker.enqueue(new_job("a")))[0]
        assert (await broker.look("a")).record
    async with broker_on(place, url="redis://127.0.0.1:1", enqueue_timeout=0) as broker:
        with pytest.raises(BrokerUnavailable, match="cannot reach"):
            await broker.enqueue(new_job("a"))


async def test_a_server_that_stays_away_is_given_up_with_what_to_do(place: Place) -> None:
    async with broker_on(place, url="redis://127.0.0.1:1", enqueue_timeout=0.1) as broker:
        with pytest.raises(BrokerUnavailable, match=r"cannot reach redis://127.*AIOQ_URL"):
            await broker.enqueue(new_job("a"))


async def test_a_server_that_is_restarted_is_found_again(
    place: Place, new_server: NewServer
) -> None:
    server = new_server(appendonly=True)
    async with broker_on(place, url=server.url) as broker:
        await broker.enqueue(new_job("a"))
        server.kill()
        asking = asyncio.ensure_future(broker.enqueue(new_job("b")))
        await asyncio.to_thread(server.restart)
        assert (await asking)[0]
        assert await broker.backlog(["default:5"]) >= 1


async def test_a_server_that_is_loading_is_waited_for(place: Place, new_server: NewServer) -> None:
    server = new_server(
        "--key-load-delay",
        "100",
        "--loading-process-events-interval-bytes",
        "1024",
        appendonly=True,
    )
    seen: list[str] = []
    async with broker_on(place, url=server.url) as broker:
        for start in range(0, 2000, 250):
            await broker.enqueue_batch([new_job(str(start + n)) for n in range(250)])
        server.kill()
        restarting = asyncio.create_task(asyncio.to_thread(server.restart))
        while not seen or "LOADING" not in seen[-1]:
            with pytest.raises(Weather) as caught:
                await broker.run(scripts.look(place.prefix, job_id="a"))
            seen.append(str(caught.value))
            await asyncio.sleep(0.001)
        assert (await broker.enqueue(new_job("a")))[0]
        await restarting


async def test_a_replica_is_weather_until_it_is_a_master(
    place: Place, new_server: NewServer
) -> None:
    server = new_server()
    async with broker_on(place, url=server.url) as broker:
        await broker.enqueue(new_job("a"))
        await broker.command("REPLICAOF", "127.0.0.1", 1)
        with pytest.raises(Weather, match=r"enqueue\.lua: READONLY"):
            await broker.run(scripts.enqueue(place.prefix, count=1, ask=False, jobs=[new_job("b")]))
        asking = asyncio.ensure_future(broker.enqueue(new_job("b")))
        await broker.command("REPLICAOF", "NO", "ONE")
        assert (await asking)[0]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("LOADING the dataset", Weather),
        ("READONLY You can't write against a read only replica.", Weather),
        ("MASTERDOWN Link with MASTER is down", Weather),
        ("CLUSTERDOWN The cluster is down", Weather),
        ("TRYAGAIN Multiple keys", Weather),
        ("MOVED 3999 127.0.0.1:6381", Weather),
        ("ASK 3999 127.0.0.1:6381", Weather),
        ("BUSY a script is running", Weather),
        ("NOREPLICAS Not enough good replicas to write.", Weather),
        ("MISCONF Errors writing to the AOF file", Weather),
        ("OOM command not allowed when used memory > 'maxmemory'.", BrokerFull),
        ("ERR OOM command not allowed when used memory > 'maxmemory'.", BrokerFull),
        ("NOAUTH Authentication required.", Refused),
        ("WRONGPASS invalid username-password pair", Refused),
        ("NOPERM this user has no permissions", Refused),
        ("ERR ACL failure in script: User u has no permissions to run 'xadd'", Refused),
        ("ERR The user executing the script can't run this command or subcommand", Refused),
        ("ERR Protocol error: unauthenticated multibulk length", Refused),
        ("ERR unknown command", ReplyError),
    ],
)
def test_every_error_reply_is_judged(text: str, kind: type[Exception]) -> None:
    judged = judge(ReplyError(text), script="fetch")
    assert type(judged) is kind
    assert str(judged).startswith("fetch.lua: ")


# Who may come in


@pytest.mark.parametrize("credentials", ["", "?password=" + SECRET, "?username=joe&password=x"])
async def test_a_wrong_password_is_refused_and_never_shown(
    place: Place, new_server: NewServer, credentials: str
) -> None:
    url = new_server("--requirepass", "right").url + credentials
    topology = parse(url, prefix=place.prefix)
    async with broker_on(place, url=url) as broker:
        with pytest.raises(Refused, match=r"refused.*; check .*password") as caught:
            await broker.enqueue(new_job("a"))
    assert SECRET not in f"{caught.getrepr()} {topology!r} {broker!r} {topology.seeds}"


async def test_the_right_password_is_let_in(place: Place, new_server: NewServer) -> None:
    url = new_server("--requirepass", "r@ght/").url + "?password=r%40ght%2F"
    async with broker_on(place, url=url) as broker:
        assert (await broker.enqueue(new_job("a")))[0]


async def test_a_password_that_is_set_later_is_a_refusal_and_not_weather(
    place: Place, new_server: NewServer
) -> None:
    server = new_server()
    async with broker_on(place, url=server.url) as broker:
        await broker.enqueue(new_job("a"))
        await broker.command("CONFIG", "SET", "requirepass", "new")
        await broker.command("CLIENT", "KILL", "SKIPME", "no", "TYPE", "normal")
        with pytest.raises(Refused):
            await broker.enqueue(new_job("b"))


async def test_a_command_that_the_acl_forbids_is_a_refusal_that_names_the_script(
    place: Place, new_server: NewServer
) -> None:
    server = new_server()
    async with broker_on(place, url=server.url) as broker:
        await broker.command("ACL", "SETUSER", "few", "on", ">pw", "~*", "&*", "+@all", "-xadd")
    async with broker_on(place, url=server.url + "?username=few&password=pw") as broker:
        with pytest.raises(Refused, match=r"enqueue\.lua: the server refused: .*ACL"):
            await broker.enqueue(new_job("a"))


async def test_a_database_that_does_not_exist_is_named_at_once(place: Place) -> None:
    async with broker_on(place, url=f"{place.url}?db=99") as broker:
        with pytest.raises(BrokerUnavailable, match="99") as caught:
            await broker.enqueue(new_job("a"))
    assert "tried for" not in str(caught.value), "waiting makes no databases"


async def test_a_server_without_a_free_connection_is_weather(
    place: Place, new_server: NewServer
) -> None:
    server = new_server("--maxclients", "1")
    only = await dialed(server.url)
    try:
        with pytest.raises(Weather):
            await (await dialed(server.url)).call("PING")
    finally:
        only.drop()
