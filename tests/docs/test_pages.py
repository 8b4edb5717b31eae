"""Pages whose programs are more than their blocks: they are started as a reader would."""

import asyncio
import importlib
import signal
import sys
from asyncio.subprocess import PIPE
from typing import Any, TypeAlias

from .snippets import ROOT, Program, Site

Asgi: TypeAlias = Any
"""An ASGI app: one coroutine function of scope, receive and send."""


async def test_the_quickstart_works_as_it_says(site: Site) -> None:
    """A worker in one terminal, a client in another."""
    await Program(ROOT / "docs/quickstart.md", site).run()

    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "aioq", "worker", "tasks:app", stderr=PIPE
    )
    client = await asyncio.create_subprocess_exec(sys.executable, "client.py", stdout=PIPE)
    said, _ = await client.communicate()
    worker.send_signal(signal.SIGINT)
    _, log = await worker.communicate()

    assert said.decode().splitlines()[1:] == ["result 10"]
    assert worker.returncode == 0, log.decode()


async def test_the_web_app_with_a_worker_inside_answers(site: Site) -> None:
    """A request to the Starlette example gets the result of a job."""
    await Program(ROOT / "docs/guides/web-frameworks.md", site).run()
    web = importlib.import_module("shop.all_in_one").web

    async with Lifespan(web):
        status, body = await request(web, "POST", "/emails", b"to=ann")

    assert (status, body) == (200, b'{"result":"Welcome! to ann"}')


class Lifespan:
    """Start an ASGI app, and shut it down."""

    def __init__(self, web: Asgi) -> None:
        self._web = web
        self._to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._from_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def __aenter__(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
        self._runs = asyncio.create_task(self._web(scope, self._to_app.get, self._from_app.put))
        await self._to_app.put({"type": "lifespan.startup"})
        assert (await self._from_app.get())["type"] == "lifespan.startup.complete"

    async def __aexit__(self, *_: object) -> None:
        await self._to_app.put({"type": "lifespan.shutdown"})
        assert (await self._from_app.get())["type"] == "lifespan.shutdown.complete"
        await self._runs


async def request(web: Asgi, method: str, path: str, query: bytes) -> tuple[int, bytes]:
    """Send one request to an ASGI app."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "headers": [],
    }
    await web(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)
