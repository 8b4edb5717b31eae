"""The self-test of a starting worker: complete, harmless, and clear about what is wrong."""

import re
from collections.abc import Callable

import pytest

from aioq.broker import rights, scripts, selftest
from aioq.broker.scripts import Settlement
from aioq.broker.selftest import Step, run, steps
from aioq.broker.server import UnfitServer
from aioq.embedded import PrivateServer
from tests.broker.calls import deliver, enqueue
from tests.broker.place import Place, broker_on, new_job
from tests.broker.test_failover import broker_of, cluster
from tests.broker.test_scripts import OWN, code

NewServer = Callable[..., PrivateServer]


def test_every_command_of_every_script_is_tried() -> None:
    """A trial that is missing belongs into `rights.TRIALS`: one line."""
    called = {command for name in scripts.names() for command in rights.called_by(name)}
    assert called == set(rights.TRIALS)


@pytest.mark.parametrize("name", OWN)
def test_every_call_names_its_command(name: str) -> None:
    """Else nobody could read from the source what a script calls."""
    if name != "selftest":
        calls = re.findall(r"\bp?call\((.)", code(OWN[name]))
        assert set(calls) <= {"'"}


def test_the_self_test_itself_calls_nothing_else() -> None:
    own = set(re.findall(r"\bp?call\('([A-Z]+)'", code(OWN["selftest"])))
    assert own <= set(rights.TRIALS)


def test_the_namespace_is_cleared_before_anything_is_written() -> None:
    assert next(iter(rights.TRIALS)) == "DEL"


def test_every_script_has_its_part_in_the_life_of_the_scratch_job() -> None:
    """A script that is missing belongs into `selftest.steps`: one line."""
    assert {step.call.script.name for step in steps()} == set(scripts.names())


@pytest.mark.broker
async def test_nothing_is_left_and_nothing_is_touched(place: Place) -> None:
    enqueue(place, new_job("late", due="+60000"))
    deliver(place, new_job("a"))
    before = place.dump()
    async with broker_on(place) as broker:
        assert await run(broker) is False
        assert place.dump() == before
        place.admin("SCRIPT", "FLUSH")
        assert await run(broker) is False
    assert place.dump() == before


@pytest.mark.broker
async def test_a_full_server_passes_and_is_told(place: Place) -> None:
    place.admin("CONFIG", "SET", "maxmemory", 1)
    async with broker_on(place) as broker:
        assert await run(broker) is True
    place.admin("CONFIG", "SET", "maxmemory", 0)
    assert place.snapshot() == {}


@pytest.mark.broker
async def test_a_script_that_fails_is_named_and_nothing_is_left(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Settlement(b"a", b"@", "?", "", b"")
    end = scripts.settle("", count=1, dead_ms=1, dead_max=1, outcomes=[broken])
    monkeypatch.setattr(selftest, "steps", lambda: [*steps()[:8], Step(end)])
    async with broker_on(place) as broker:
        with pytest.raises(
            UnfitServer, match=r"cannot run .*settle\.lua: ERR outcome \?  of job a"
        ):
            await run(broker)
    assert place.snapshot() == {}


@pytest.mark.broker
async def test_a_script_that_goes_astray_is_named(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that only resembles Redis may run the scripts, and do something else."""
    life = [step._replace(expected="S") if step.expected == "K" else step for step in steps()]
    monkeypatch.setattr(selftest, "steps", lambda: life)
    async with broker_on(place) as broker:
        with pytest.raises(UnfitServer, match=r"cannot run .*settle\.lua gave b'K'"):
            await run(broker)


@pytest.mark.broker
async def test_a_server_that_lacks_a_command_is_named(new_server: NewServer) -> None:
    server = new_server("--rename-command", "ZPOPMIN", "")
    with Place(server.url) as place:
        async with broker_on(place) as broker:
            with pytest.raises(UnfitServer, match=r"cannot run .*ZPOPMIN: .*[Uu]nknown"):
                await run(broker)
        assert place.snapshot() == {}


@pytest.mark.broker
async def test_a_cluster_passes_on_whichever_node_has_the_keys(new_server: NewServer) -> None:
    async with cluster(new_server) as nodes:
        url = f"redis+cluster://127.0.0.1:{next(iter(nodes))}"
        for name in "abc":
            async with broker_of(name, url) as broker:
                assert await run(broker) is False
        assert [node("DBSIZE") for node in nodes.values()] == [0, 0, 0]
