"""What one run of a durable job knows of its memo, and the way to that.

Every name is asked for once in a run.  So a run that does something else than those before it is
found out: where a name stands for another thing, and in the end by the names it did not ask for.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Protocol

from aioq.broker.memos import Memo as Read
from aioq.broker.memos import NewChild, Noted
from aioq.core.errors import ConfigurationError, NonDeterministic, SuspendSwallowed
from aioq.core.suspend import Suspend

_NAME = re.compile(r"[!-z|~]{1,100}\Z")
_KINDS = {
    "s": "a step",
    "z": "a sleep",
    "e": "a wait",
    "E": "a wait",
    "T": "a wait",
} | dict.fromkeys("pPr", "a child")


class Way(Protocol):
    """The way of a durable job to its memo."""

    memo: "Memo | None"
    """What this run knows of it; None: it has not asked."""

    async def recall(self) -> Read:
        """Read the memo."""
        ...

    async def note(self, name: str, kind: str, value: bytes, most: int) -> Noted:
        """Note a step or a sleep, where the steps take no more than so many bytes in sum.

        Raises:
            PayloadTooLarge: the memo would be too large.
        """
        ...

    async def start(self, children: list[NewChild]) -> bool:
        """Make children; False: there would be too many."""
        ...

    async def results(self, numbers: list[str]) -> list[bytes]:
        """Read large results of children."""
        ...

    async def hear(self, name: str, event: str, timeout: float | None) -> Noted:
        """Look for an event, and wait for it from now on."""
        ...


class NoWay:
    """That of a plain call, which is no job and can wait for nothing."""

    memo: "Memo | None" = None

    async def recall(self) -> Read:
        """Refuse."""
        raise ConfigurationError(_NO_JOB)

    async def note(self, name: str, kind: str, value: bytes, most: int) -> Noted:
        """Refuse."""
        del name, kind, value, most
        raise ConfigurationError(_NO_JOB)

    async def start(self, children: list[NewChild]) -> bool:
        """Refuse."""
        del children
        raise ConfigurationError(_NO_JOB)

    async def results(self, numbers: list[str]) -> list[bytes]:
        """Refuse."""
        del numbers
        raise ConfigurationError(_NO_JOB)

    async def hear(self, name: str, event: str, timeout: float | None) -> Noted:
        """Refuse."""
        del name, event, timeout
        raise ConfigurationError(_NO_JOB)


_NO_JOB = "events and children need a job: enqueue the task, for a plain call of it is none"


class Memo:
    """What one run of a job knows of its memo, and has asked of it."""

    def __init__(self, job_id: str, task: str, read: Read) -> None:
        self.task = task
        self.now_ms: int = read.now_ms
        self.entries: dict[str, bytes] = read.entries
        self.family: str = f"{job_id}.{read.nonce}" if read.nonce else job_id
        """What the ids of its children begin with: an id that the user chose may be used again."""
        self.results: dict[str, bytes] = {}
        """Large results of children, as far as they were read."""
        self.children = 0
        self._sleeps = 0
        self._sleeper: asyncio.Task[object] | None = None
        self._asked: set[str] = set()
        self._running: set[asyncio.Future[None]] = set()
        self._dues: set[int] = set()
        self._waits: set[str] = set()
        self._suspend: Suspend | None = None

    def next_sleep(self) -> str:
        """Name a sleep by its place among all.

        Raises:
            ConfigurationError: branches of the task sleep, and which one comes first is chance.
        """
        branch = asyncio.current_task()
        if self._sleeps and branch is not self._sleeper:
            message = (
                f"{self.task} sleeps in more than one of its branches; give each sleep a name: "
                'ctx.sleep(5, name="before-the-mail")'
            )
            raise ConfigurationError(message)
        self._sleeper = branch
        self._sleeps += 1
        return f"sleep {self._sleeps}"

    def ask(self, name: str, kinds: str) -> bytes | None:
        """Return what is known of a name, for the only time in this run; None: nothing.

        Raises:
            ConfigurationError: this run has used the name already.
            NonDeterministic: an earlier run used it for something else.
            Suspend: the job waits already, and does nothing more.
        """
        if self._suspend is not None:
            raise self._suspend
        if name in self._asked:
            message = (
                f"{self.task} uses the name {name!r} twice; each step and each wait of a job needs "
                "a name of its own"
            )
            raise ConfigurationError(message)
        self._asked.add(name)
        entry = self.entries.get(name)
        if entry is not None and chr(entry[0]) not in kinds:
            was, now = _KINDS[chr(entry[0])], _KINDS[kinds[0]]
            raise self.differs(f"{name!r} was {was} before, and is {now} now")
        return entry

    def note(self, name: str, noted: Noted) -> bytes:
        """Take over what the server says."""
        self.now_ms = noted.now_ms
        self.entries[name] = noted.entry
        return noted.entry

    def differs(self, how: str) -> NonDeterministic:
        """Return the error of a run that does not do what earlier ones did."""
        return NonDeterministic(
            f"{self.task} was run again and did something else: {how}; whatever decides its way "
            "belongs into a step"
        )

    def begin_step(self) -> Callable[[], None]:
        """Note that a step runs, for which a wait beside it waits; return what ends it."""
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._running.add(ended)

        def end() -> None:
            self._running.discard(ended)
            ended.set_result(None)

        return end

    async def suspend(
        self, *, due_ms: int | None = None, wait: str = "", children: tuple[str, ...] = ()
    ) -> None:
        """End the delivery; waits in other branches of the task count too."""
        if due_ms is not None:
            self._dues.add(due_ms)
        if wait:
            self._waits.add(wait)
        while self._running:  # what runs beside this would else have to begin anew
            await asyncio.wait(self._running)
        if self._suspend is None:
            due = min(self._dues, default=None)
            self._suspend = Suspend(due, (*children, *sorted(self._waits)))
        raise self._suspend

    def check_end(self) -> None:
        """Check a run whose task has returned.

        Raises:
            SuspendSwallowed: it had to wait.
            NonDeterministic: earlier runs have done what this one has not asked for.
        """
        if self._suspend is not None:
            message = (
                f"{self.task} has to wait, and returned: something in it catches Suspend; catch "
                "Exception there, not BaseException, or raise it again"
            )
            raise SuspendSwallowed(message)
        left = self.entries.keys() - self._asked
        if left:
            names = ", ".join(sorted(map(repr, left)))
            raise self.differs(f"it returned without {names}, which an earlier run has used")


def check_event(event: str) -> None:
    """Check the name of an event.

    Raises:
        ConfigurationError: it is no such name.
    """
    check_name("the event", event)


def check_name(what: str, name: object) -> None:
    """Check the name of a step, a wait or an event.

    Raises:
        ConfigurationError: it is no such name.
    """
    if not isinstance(name, str) or not _NAME.match(name):
        message = (
            f"{what} is named {name!r}; a name has 1 to 100 characters of ASCII that can be seen, "
            "without spaces and braces"
        )
        raise ConfigurationError(message)
