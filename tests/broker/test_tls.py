"""`rediss://`: the same bytes through TLS, to a server whose certificate is trusted."""

import asyncio
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from aioq.broker.connection import dial
from aioq.broker.sync import SyncBroker
from aioq.broker.topology import parse
from aioq.broker.weather import Weather
from tests.broker.calls import deliver
from tests.broker.place import Place, broker_on, new_job
from tests.faults.proxy import proxy_to

OPENSSL = shutil.which("openssl")
pytestmark = [
    pytest.mark.broker,
    pytest.mark.skipif(OPENSSL is None, reason="a certificate is made with openssl"),
]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for 127.0.0.1 that nobody has signed but itself."""
    folder = tmp_path_factory.mktemp("tls")
    command = (
        f"req -x509 -newkey rsa:2048 -nodes -days 1 -keyout {folder}/pem -out {folder}/crt "
        "-subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    )
    subprocess.run([OPENSSL or "", *command.split()], check=True, capture_output=True)
    return folder


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate / "crt", certificate / "pem")
    return context


@pytest.mark.parametrize("query", ["ssl_ca_certs={}/crt", "ssl_cert_reqs=none"])
async def test_everything_works_through_tls(
    place: Place, tls: ssl.SSLContext, certificate: Path, query: str
) -> None:
    async with proxy_to(place.url, tls) as proxy:
        url = f"{proxy.url}?{query.format(certificate)}"
        async with broker_on(place, url=url) as broker:
            names = [str(n) for n in range(500)]
            await asyncio.gather(*(broker.enqueue(new_job(name)) for name in names))
            large = new_job("large", payload=b"x" * 1_000_000)
            assert (await broker.enqueue(large))[0]
            assert (await broker.look("large")).payload == large.payload
            assert (await broker.waiters.ask("0")).state == "-"
    assert len(deliver(place)) == 250


async def test_a_lost_connection_under_tls_is_weather(place: Place, tls: ssl.SSLContext) -> None:
    async with proxy_to(place.url, tls) as proxy:
        opened = await dial(parse(f"{proxy.url}?ssl_cert_reqs=none", prefix=place.prefix))
        waiting = opened.call("BLPOP", "nothing", 0)
        proxy.drop()
        with pytest.raises(Weather):
            await waiting


async def test_a_certificate_that_nobody_trusts_is_named(place: Place, tls: ssl.SSLContext) -> None:
    async with proxy_to(place.url, tls) as proxy:
        with pytest.raises(Weather, match=r"cannot reach rediss://.*certificate"):
            await dial(parse(proxy.url, prefix=place.prefix))


async def test_sync_code_speaks_tls_too(place: Place, tls: ssl.SSLContext) -> None:
    async with proxy_to(place.url, tls) as proxy:
        topology = parse(f"{proxy.url}?ssl_cert_reqs=none", prefix=place.prefix)
        broker = SyncBroker(topology, place.keys, enqueue_timeout=5)
        assert (await asyncio.to_thread(broker.ask, "nobody")).state == ""
        broker.close()
