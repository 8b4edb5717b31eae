"""Start a worker inside a test, on a private server."""

import asyncio
import atexit
import threading
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager

from aioq.app import Aioq
from aioq.broker import sync
from aioq.broker.topology import parse
from aioq.embedded import PrivateServer
from aioq.worker import Worker


def embedded_server() -> PrivateServer:
    """Return a private server, as a context manager (`with` or `async with`) that starts it.

    Its `url` is what `Aioq(...)` takes.  Nothing is persisted, and the server is gone however the
    process ends.
    """
    return PrivateServer()


@asynccontextmanager
async def running(
    app: Aioq,
    *,
    concurrency: int | None = None,
    queues: Sequence[str] | Mapping[str, int] | None = None,
    scheduler: bool = True,
    url: str | None = None,
) -> AsyncGenerator[Worker]:
    """Run a real worker of `app` in this event loop, on an empty private server.

    While it lasts, everything that `app` does goes to that server, whatever URL the app has.  On
    leaving, the worker stops; jobs that still run are cancelled.

    Args:
        app: the app to run.
        concurrency: jobs at the same time; default: `Settings.concurrency`.
        queues: which queues to serve, in their order or by weight; default: all that the app names.
        scheduler: whether the app's schedules are brought to the server and fired meanwhile.
        url: a server of one's own in place of the private one; it is not emptied.
    """
    if url is not None:
        async with _worker(app, url, concurrency, queues, scheduler=scheduler) as worker:
            yield worker
        return
    database = _databases.take()
    try:
        async with _worker(app, database.url, concurrency, queues, scheduler=scheduler) as worker:
            yield worker
    finally:
        _databases.give_back(database)


@asynccontextmanager
async def _worker(
    app: Aioq,
    url: str,
    concurrency: int | None,
    queues: Sequence[str] | Mapping[str, int] | None,
    *,
    scheduler: bool,
) -> AsyncGenerator[Worker]:
    with app.connected_to(url):
        worker = Worker(app, concurrency=concurrency, queues=queues, scheduler=scheduler)
        worker.may_lose_jobs = True  # nobody wants a warning about a test's server
        runs = asyncio.ensure_future(worker.run())
        try:
            started = asyncio.ensure_future(worker.started.wait())
            await asyncio.wait({runs, started}, return_when=asyncio.FIRST_COMPLETED)
            started.cancel()
            if runs.done():
                runs.result()
            yield worker
        finally:
            worker.stop()
            try:
                await runs
            finally:
                await app.aclose()


class _Database:
    """One of the sixteen databases of the private server."""

    def __init__(self, server: PrivateServer, number: int) -> None:
        self.number = number
        self.url = f"{server.url}?db={number}"

    def empty(self) -> None:
        connection = sync.dial(parse(self.url, prefix=""))
        try:
            connection.send_command("FLUSHDB", check_health=False)
            connection.read_response()
        finally:
            connection.disconnect()


class _Databases:
    """One server for all the tests of a process, a database for each worker at a time."""

    def __init__(self) -> None:
        self._server: PrivateServer | None = None
        self._free: list[_Database] = []
        self._lock = threading.Lock()

    def take(self) -> _Database:
        with self._lock:
            if self._server is None or not self._free:
                self._server = PrivateServer()
                self._server.start()
                atexit.register(self._server.stop)
                self._free += [_Database(self._server, number) for number in range(16)]
            return self._free.pop(0)

    def give_back(self, database: _Database) -> None:
        database.empty()
        with self._lock:
            self._free.insert(0, database)


_databases = _Databases()
