"""Bring the schedules that an app's code declares to the server, as a worker starts.

The newest process of a source has the word.  One that began earlier, such as a worker of the last
deploy that is slow to start, is refused from then on, so a rolling deploy does not flap.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from aioq.broker import schedules
from aioq.broker.broker import Broker
from aioq.broker.schedules import ENOUGH, PER_CALL, Change
from aioq.core.recurring import RUN_TIME, Definition, kept_pace, source_of
from aioq.schedules import stored

if TYPE_CHECKING:
    from aioq.app import Aioq

log: logging.Logger = logging.getLogger("aioq.scheduler")


async def reconcile(app: "Aioq", broker: Broker, *, patience: float | None = None) -> None:
    """Make the server's schedules of this source those of the code.

    Raises:
        ConfigurationError: a schedule in the code cannot work.
        BrokerUnavailable: the server stayed away for `patience` seconds.
    """
    declared, source = app.declared_schedules(), app.source
    _warn_unknown(app, declared)
    if not declared and source not in map(source_of, (await _known(broker, patience)).values()):
        return
    clock = await broker.persist(schedules.due(broker.keys.prefix, most=1), patience=patience)
    if app.reconciled_ms is None:
        app.reconciled_ms = clock.now_ms
    speaker = _Speaker(broker, source, app.reconciled_ms, patience)
    # Before anything is read: from here on none that began earlier can write.
    if await speaker.say(()):
        known = await _known(broker, patience)
        for part in _slices(_changes(known, declared, source, clock.now_ms)):
            if not await speaker.say(part):
                return


def declaring(app: "Aioq") -> str:
    """Return the source of an app whose code declares schedules; "": it declares none."""
    return app.source if app.declared_schedules() else ""


class _Speaker:
    """One process, as it says what its source has."""

    def __init__(self, broker: Broker, source: str, began_ms: int, patience: float | None) -> None:
        self._broker = broker
        self._source = source
        self._began_ms = began_ms
        self._patience = patience

    async def say(self, changes: Sequence[Change]) -> bool:
        """Write changes; False: a newer process has the word."""
        call = schedules.reconcile(
            self._broker.keys.prefix,
            source=self._source,
            version=self._began_ms,
            changes=changes,
        )
        done = await self._broker.persist(call, patience=self._patience)
        if done.refused:
            log.info("A newer worker of %s has the word on its schedules.", self._source)
        for name, owner in done.strangers.items():
            _report(name, self._source, owner)
        return not done.refused


def _changes(
    known: Mapping[str, bytes], declared: Mapping[str, Definition], source: str, now_ms: int
) -> Iterator[Change]:
    """Yield what is not on the server as the code has it."""
    for name, definition in declared.items():
        encoded, before = definition.encode(), known.get(name, b"")
        if encoded != before:
            next_ms = definition.schedule.next_ms(now_ms)
            yield Change(name, encoded, next_ms, kept_pace(before, definition))
    for name, before in known.items():
        if source_of(before) == source and name not in declared:
            yield Change(name, b"", 0, "")


def _slices(changes: Iterator[Change]) -> Iterator[list[Change]]:
    part: list[Change] = []
    size = 0
    for change in changes:
        part.append(change)
        size += len(change.definition)
        if len(part) == PER_CALL or size > ENOUGH:
            yield part
            part, size = [], 0
    if part:
        yield part


async def _known(broker: Broker, patience: float | None) -> dict[str, bytes]:
    return {each.name: each.definition async for each in stored(broker, patience=patience)}


def _warn_unknown(app: "Aioq", declared: Mapping[str, Definition]) -> None:
    for name, definition in declared.items():
        if definition.task not in app.tasks:
            log.warning(
                "The schedule %r makes jobs of the task %r, which none of this app's modules has: "
                "they wait for a worker that knows it.",
                name,
                definition.task,
            )


def _report(name: str, source: str, owner: str) -> None:
    whose = "was made at run time" if owner == RUN_TIME else f"belongs to {owner}"
    log.error(
        "The schedule %r of %s is not used, for there is another of this name, which %s and is "
        "kept: give one of them another name, or, if the other is not wanted any more, run "
        "`aioq schedules remove %s` and start this worker again.",
        name,
        source,
        whose,
        name,
    )
