"""Keep several worker processes running: `aioq worker --processes N`.

It starts one child alone, and the others once that one takes jobs: a mistake is then said once.
A child that dies is replaced, and its jobs are reaped at once by the name of its incarnation, for
a death that was seen need not be waited for.  A child that has lived as long as it may goes on
until its successor takes jobs, and then ends its own in peace.

This process imports nothing of the user's and runs no jobs.  Each child holds one end of a tie;
however this process goes, they hear it and drain.
"""

import asyncio
import logging
import os
import random
import signal
from collections.abc import Collection, Sequence
from contextlib import suppress
from types import FrameType

from aioq.core.retry import Spread
from aioq.worker.children import Child
from aioq.worker.held_server import HeldServer
from aioq.worker.orphans import Incarnation, Orphans
from aioq.worker.tie import HELD_BACK, MARGIN, Hold, Left, Loaded, Message, Named, Ready, Worn

log: logging.Logger = logging.getLogger("aioq.worker")

LONG_LIFE = 10.0
"""Seconds of taking jobs after which the death of a child says nothing about its successor."""
LONGEST_PAUSE = 30.0
"""Seconds between two starts of a child that dies again and again, at most."""
_LAST_REAP = 2.0
"""Seconds that leaving may take to reap who was killed; the server may be away."""
_DRAIN, _STOP, _KILL = 1, 2, 3


def restart_delay(early_deaths: int, spread: Spread = random.uniform) -> float:
    """Return the seconds before a child takes the place of a dead one: full jitter.

    Args:
        early_deaths: how many in a row have died soon after their start.
        spread: draws the number.
    """
    if not early_deaths:
        return 0.0
    return spread(0, min(0.5 * 2.0 ** min(early_deaths, 10), LONGEST_PAUSE))


class Supervisor:
    """One run of several workers.

    Args:
        command: starts a worker; the environment tells it that it has a supervisor.
        burst: whether a worker leaves when nothing is to be done.
        fatal: exit codes of a first child that end the supervisor, as a restart mends nothing.
    """

    def __init__(
        self, command: Sequence[str], *, burst: bool = False, fatal: Collection[int] = ()
    ) -> None:
        self._command = command
        self._burst = burst
        self._fatal = fatal
        self._orphans = Orphans()
        self._loop = asyncio.get_running_loop()
        self._children: set[Child] = set()
        self._started = 0
        self._lines = asyncio.TaskGroup()
        self._processes = 0
        self._worn: asyncio.Queue[tuple[Child, str]] = asyncio.Queue()
        self._signals = 0
        self._urgency = 0
        self._ending = asyncio.Event()
        self._server = HeldServer()
        self._code = 0

    async def run(self) -> int:
        """Run until a signal ends it, or nothing is left to do; return the exit code.

        In the main thread.
        """
        # Python's own handlers and not the loop's: they stay when the loop is closed, so that one
        # more signal does not turn a clean end into a death by signal.
        for number in HELD_BACK:
            signal.signal(number, self._received)
        async with asyncio.TaskGroup() as around:
            recycler = around.create_task(self._recycle())
            try:
                async with self._lines:
                    self._begin_line()
            finally:
                recycler.cancel()
        await asyncio.to_thread(self._orphans.finished, _LAST_REAP)
        await self._server.aclose()
        return self._code

    def _begin_line(self) -> None:
        self._lines.create_task(self._keep_one())

    async def _keep_one(self) -> None:
        """Keep one worker running."""
        child = await self._start()
        child.is_first = True
        await self._follow(child)

    async def _follow(self, child: Child | None) -> None:
        """Wait for the end of a child, and of each that takes the place of a dead one."""
        while child is not None:
            await child.ended
            self._see_off(child)
            child = await self._next(child)

    def _see_off(self, dead: Child) -> None:
        """Give what a child has held to the living, without waiting for its lease."""
        self._children.discard(dead)
        if dead.loaded is None or not dead.worker:
            return
        is_crash = not dead.has_left and not dead.was_killed and self._urgency < _KILL
        loaded = dead.loaded
        self._orphans.reap(Incarnation(loaded.url, loaded.prefix, dead.worker, is_crash))

    async def _next(self, dead: Child) -> Child | None:
        """Decide what comes after a child that has ended; return who takes its place."""
        if self._ending.is_set() or dead.is_leaving:
            self._judge(dead)
            return None
        if dead.is_first and not dead.takes_jobs.result() and dead.code in self._fatal:
            if self._children:
                log.error("%s %s before it took jobs: leaving.", dead, dead.end)
            self._code = dead.code
            self._end(_STOP)
            return None
        if self._burst and dead.code == 0:
            return None
        if dead.has_successor:
            log.error("%s %s; its successor is on its way.", dead, dead.end)
            return None
        early_deaths = dead.early_deaths + 1 if dead.lived < LONG_LIFE else 0
        pause = restart_delay(early_deaths)
        when = f"in {pause:.1f} s" if pause else "now"
        level = logging.ERROR if dead.code else logging.INFO
        log.log(level, "%s %s; another one takes its place %s.", dead, dead.end, when)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ending.wait(), pause)
        return None if self._ending.is_set() else await self._start(early_deaths)

    def _judge(self, dead: Child) -> None:
        """Note that a child which was to leave has not done so in good order."""
        # Python gives its handlers up before it ends: a late signal kills who has left already.
        is_clean = dead.code == 0 or dead.has_left or dead.was_killed
        if not is_clean and self._urgency < _KILL:
            log.error("%s %s when it was to leave.", dead, dead.end)
            if self._ending.is_set():
                self._code = self._code or 1

    async def _recycle(self) -> None:
        """Replace those that have lived as long as they may, one after the other."""
        while True:
            old, reason = await self._worn.get()
            while len(leaving := self._leaving()) >= self._processes:
                await asyncio.wait(leaving, return_when=asyncio.FIRST_COMPLETED)
            if self._ending.is_set() or old.ended.done():
                continue
            old.has_successor = True
            decided = asyncio.Event()
            self._lines.create_task(self._succeed(old, reason, decided))
            await decided.wait()
            if old.is_leaving:  # its jobs may take long; then the next need not wait
                await asyncio.wait({old.ended}, timeout=self._grace)

    def _leaving(self) -> list[asyncio.Task[int]]:
        return [each.ended for each in self._children if each.is_leaving]

    async def _succeed(self, old: Child, reason: str, decided: asyncio.Event) -> None:
        """Start a successor; when it takes jobs the old one leaves."""
        new = await self._start()
        takes_jobs = await new.takes_jobs
        if self._ending.is_set():
            pass  # both have been told
        elif takes_jobs:
            log.info("%s has %s; %s takes its place.", old, reason, new)
            old.is_leaving = True
            old.hold.give_way()
        elif not old.ended.done():
            # The code may have changed for the worse: the old one is what still works.
            self._see_off(new)
            old.has_successor = False
            old.failed_successors += 1
            pause = restart_delay(old.failed_successors + 1)
            log.error("%s %s; %s goes on, and has %s.", new, new.end, old, reason)
            self._loop.call_later(pause, self._worn.put_nowait, (old, reason))
        decided.set()
        if old.has_successor:
            await self._follow(new)

    async def _start(self, early_deaths: int = 0) -> Child:
        hold = Hold(self._started, is_one_of_several=True)
        self._started += 1
        # A signal that reaches a child before it has handlers would kill it.
        signal.pthread_sigmask(signal.SIG_BLOCK, HELD_BACK)
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command, env=hold.environment(os.environ), pass_fds=[hold.descriptor]
            )
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_BACK)
        child = Child(process, hold, early_deaths=early_deaths)
        hold.started(lambda message: self._heard(child, message))
        self._children.add(child)
        self._press(child)  # a signal may have come too early to reach it
        return child

    def _heard(self, child: Child, message: Message) -> None:
        match message:
            case Loaded():
                child.loaded = message
                self._server.hold(message.embedded_url)
            case Named():
                child.worker = message.worker
            case Ready():
                child.begin()
                self._begin_all(child)
            case Worn():
                self._worn.put_nowait((child, message.reason))
            case Left():
                child.has_left = True

    def _begin_all(self, first: Child) -> None:
        """Start the others once a first one takes jobs."""
        if self._processes or self._ending.is_set() or first.loaded is None:
            return
        self._processes = first.loaded.processes
        for _ in range(self._processes - 1):
            self._begin_line()

    @property
    def _grace(self) -> float:
        return max((each.loaded.grace for each in self._children if each.loaded), default=0.0)

    def _received(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        with suppress(RuntimeError):  # the loop is closed: all have left
            self._loop.call_soon_threadsafe(self._obey, signal.Signals(number))

    def _obey(self, number: signal.Signals) -> None:
        """Do what a signal asks for; the children do not count the ones that they get as well."""
        if number == signal.SIGUSR1:
            for child in self._children:
                child.send(number)
            return
        self._signals += 1
        if self._signals == _DRAIN:
            log.info(
                "%s: waiting for %d workers, at most %g s; a second signal gives their jobs back.",
                number.name,
                len(self._children),
                self._grace,
            )
        elif self._signals == _STOP:
            log.warning("%s: the workers give their jobs back.", number.name)
        else:
            log.error("A third signal (%s): leaving at once.", number.name)
            self._code = 128 + number
        self._end(self._signals)

    def _end(self, urgency: int) -> None:
        """Let all children leave, the more urgently the more often that is asked for."""
        self._ending.set()
        self._urgency = max(self._urgency, min(urgency, _KILL))
        for child in self._children:
            self._press(child)
        patience = MARGIN if self._urgency > _DRAIN else self._grace + MARGIN
        self._loop.call_later(patience, self._kill_the_rest)

    def _press(self, child: Child) -> None:
        """Tell a child how urgently it is to leave, if at all."""
        if self._urgency == _DRAIN:
            child.hold.drain()
        elif self._urgency == _STOP and child.worker:
            child.hold.stop()
        elif self._urgency >= _STOP:  # who has no name yet has nothing to give back
            child.kill()

    def _kill_the_rest(self) -> None:
        for child in self._children:
            log.error("%s does not leave: killing it.", child)
            child.kill()
            self._code = self._code or 1
