"""The doorbell: a token wakes one idle worker, and a lost one costs nothing but time."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from aioq.broker.doorbell import Doorbell
from aioq.broker.topology import parse
from aioq.broker.weather import Weather
from tests.broker.calls import enqueue
from tests.broker.place import Place, new_job
from tests.eventually import eventually

pytestmark = pytest.mark.broker


@contextmanager
def doorbell_of(place: Place) -> Generator[Doorbell]:
    bell = Doorbell(parse(place.url, prefix=place.prefix), place.keys, ["mail", "default"])
    try:
        yield bell
    finally:
        bell.drop()


def is_listened_to(place: Place) -> bool:
    return any("cmd=blpop" in client for client in place.admin.others())


async def test_an_enqueue_wakes_who_listens_and_says_for_which_queue(place: Place) -> None:
    with doorbell_of(place) as bell:
        for lane in ("default:5", "mail:0"):
            listening = asyncio.create_task(bell.listen())
            await eventually(lambda: is_listened_to(place))
            enqueue(place, new_job(lane, lane=lane))
            assert await listening == lane[:-2]


async def test_a_token_that_lies_there_wakes_at_once_and_each_token_one(place: Place) -> None:
    enqueue(place, new_job("a"), new_job("b", lane="mail:5"))
    with doorbell_of(place) as one, doorbell_of(place) as other:
        heard = {await one.listen(), await other.listen()}
        assert heard == {"default", "mail"}
        assert (place.bells("default"), place.bells("mail")) == (0, 0)


async def test_nobody_listens_for_ever(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aioq.broker.doorbell.PATIENCE", 1)
    with doorbell_of(place) as bell:
        assert await bell.listen() is None


async def test_a_lost_connection_is_weather_and_the_next_listening_opens_another(
    place: Place,
) -> None:
    with doorbell_of(place) as bell:
        listening = asyncio.create_task(bell.listen())
        await eventually(lambda: is_listened_to(place))
        place.admin("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        with pytest.raises(Weather):
            await listening
        enqueue(place, new_job("a"))
        assert await bell.listen() == "default"
