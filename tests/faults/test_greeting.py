"""A connection that ends before it has begun is weather, on whichever event loop."""

import asyncio
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
import uvloop

from aioq.broker.connection import dial
from aioq.broker.topology import parse
from aioq.broker.weather import Weather
from tests.faults.proxy import AT_ONCE

TRIES = 600
"""So that the end comes at every step of the greeting."""


@pytest.fixture
def rude_url() -> Iterator[str]:
    """A server that accepts every connection, and resets it, now sooner and now later."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):  # the end of the test
            for turn in itertools.count():
                accepted, _ = listening.accept()
                time.sleep(turn % 40 * 1e-5)
                accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
                accepted.close()

    # A thread of its own: the end must come while the client is at any step.
    thread = threading.Thread(target=serve)
    thread.start()
    host, port = listening.getsockname()
    yield f"redis://{host}:{port}/0"
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join()


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_reset_during_the_greeting_is_weather(
    rude_url: str, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Anything else would be a bug, and the end of the worker."""

    async def try_again_and_again() -> None:
        for _ in range(TRIES):
            with suppress(Weather):
                (await dial(parse(rude_url, prefix=""))).drop()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(try_again_and_again())
