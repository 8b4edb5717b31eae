"""What a worker asks of its server before it takes a job: better no worker than lost jobs.

What would lose jobs is one error here, with what mends it.  What cannot be read, because a managed
server keeps it to itself, is a warning.
"""

import asyncio
import logging

from aioq.broker import selftest, server
from aioq.broker.broker import Broker
from aioq.broker.server import NOEVICTION, OLDEST, ServerFacts, UnfitServer
from aioq.core.errors import AioqError
from aioq.core.settings import Settings

log: logging.Logger = logging.getLogger("aioq.worker")


async def check(broker: Broker, settings: Settings, *, may_lose: bool = False) -> ServerFacts:
    """Wait for the server, and test that it is fit and that all rights are there.

    Args:
        broker: the way to it.
        settings: how long to wait, and what is allowed.
        may_lose: whether it may keep nothing.

    Raises:
        BrokerUnavailable: it stayed away for `Settings.startup_timeout`; as `UnfitServer`, jobs
            are not safe there; as `Refused`, rights are missing.
    """

    async def attempt() -> tuple[ServerFacts, bool]:
        facts = await server.read(broker)
        _require_fitness(facts, broker.topology.url, allow_eviction=settings.allow_eviction)
        return facts, await selftest.run(broker)

    facts, is_full = await broker.through_weather(attempt, patience=settings.startup_timeout)
    _tell(facts, is_full=is_full, may_lose=may_lose)
    return facts


async def glance(broker: Broker, *, seconds: float = 1.0) -> ServerFacts | None:
    """Look at the server once, for the banner; None: it does not answer now."""
    try:
        async with asyncio.timeout(seconds):
            return await server.read(broker)
    except (TimeoutError, AioqError):
        return None


def _require_fitness(facts: ServerFacts, url: str, *, allow_eviction: bool) -> None:
    if facts.is_too_old:
        needed = ".".join(map(str, OLDEST))
        like = "" if facts.name == "Redis" else f", which is like Redis {facts.redis_version}"
        message = (
            f"{url} is {facts.title}{like}; aioq needs Redis {needed} or newer, or Valkey: upgrade "
            "the server, or give the URL of another one"
        )
        raise UnfitServer(message)
    if facts.policy not in {None, NOEVICTION} and not allow_eviction:
        message = (
            f"{url} has the maxmemory-policy {facts.policy}: once it is full, it would throw jobs "
            f"or their results away without a word. Set it to {NOEVICTION}, in the server's "
            f"configuration and now: CONFIG SET maxmemory-policy {NOEVICTION}. Or accept the loss: "
            "AIOQ_ALLOW_EVICTION=true"
        )
        raise UnfitServer(message)


def _tell(facts: ServerFacts, *, is_full: bool, may_lose: bool) -> None:
    """Say what the server is, and what is no reason to stay away and still may be a mistake."""
    level = logging.WARNING if facts.keeps_nothing and not may_lose else logging.INFO
    log.log(level, "The server is %s; persistence: %s.", facts.title, facts.persistence)
    if facts.policy is None:
        log.warning(
            "The server does not tell its maxmemory-policy; make sure that it is %s, or a full "
            "server throws jobs away.",
            NOEVICTION,
        )
    elif facts.policy != NOEVICTION:
        log.warning(
            "A full server will throw jobs or results away: its maxmemory-policy is %s, and "
            "allow_eviction is set.",
            facts.policy,
        )
    if is_full:
        log.warning("The server is full: nothing can be enqueued until jobs have been done.")
