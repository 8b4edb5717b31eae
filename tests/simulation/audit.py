"""Now and then everything is compared: what is stored, with itself and with the history."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from aioq.broker.keys import split_lane
from tests.simulation.history import LEASE_MS
from tests.simulation.stories import ENDED, Found, Story, Violation
from tests.simulation.tasks import UNKNOWN_TO_SOME
from tests.simulation.wire import Wire
from tests.simulation.worker import Worker

if TYPE_CHECKING:
    from tests.simulation.world import World

LONGEST_WAIT_MS = 2 * LEASE_MS + LEASE_MS / 3
"""How long a ready job may wait while a worker that is well has room."""
FORGET_MS = 120_000
"""How long the record of a job is kept after its end, at least: no message comes later."""
_LIMITED = re.compile(r"(^| )[bco]:")
"""What waits for limits may wait for as long as they say; L1 sees to it that it ends."""
_LOOK = """
local found = {}
for n, job_id in ipairs(ARGV) do
  local key = KEYS[1] .. 'j:' .. job_id
  found[n] = redis.call('HMGET', key,
    's', 'i', 'e', 'k', 'a', 'c', 'd', 'o', 'm', 'u', 'l', 'x', 'g', 'h')
  found[n][15] = redis.call('EXISTS', KEYS[1] .. 'y:' .. job_id)
end
return found
"""


def look(wire: Wire, prefix: str, job_ids: Sequence[str]) -> list[Found | None]:
    """Read records as they are stored."""
    (rows,) = wire.ask(("EVAL", _LOOK, 1, prefix, *job_ids))
    return [_found(row) if row[0] is not None else None for row in rows]


def _found(row: list[Any]) -> Found:
    state, token, retries, crashes, ended, revoke, due, worker, mark, nonce, *rest = row
    handled_by, expires, since, holds, payload = rest
    return Found(
        state=state.decode(),
        token=token or b"",
        retries=int(retries or 0),
        crashes=int(crashes or 0),
        ended=int(ended or 0),
        revoke=revoke is not None,
        due_ms=int(due or 0),
        worker=(worker or b"").decode(),
        waits=state == b"r" and mark == b"v",
        nonce=(nonce or b"").decode(),
        handled_by=(handled_by or b"").decode(),
        expires_ms=None if expires is None else int(expires),
        unknown_since=None if since is None else int(since),
        holds=(holds or b"").decode(),
        has_payload=bool(payload),
    )


class Auditor:
    """Compares, and forgets what has long ended."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._host = world.host
        self._history = world.history
        self._forgotten: list[str] = []

    def audit(self) -> None:
        """Check all that is stored."""
        if problems := self._host.place.problems():
            raise Violation("I14: " + "\n".join(problems))
        history = self._history
        stories = list(history.present.values())
        found = look(self._host.wire, self._world.prefix, [story.job_id for story in stories])
        for story, each in zip(stories, found, strict=True):
            if text := history.difference(story, each):
                raise Violation(f"I1: job {story.job_id} of {story.job.task}: {text}\n{story}")
            self._check_wait(story)
        self._forget([story for story in stories if self._is_old(story)])

    def forget_again(self) -> None:
        """Forget once more what a server may know again that was set back."""
        self._delete(self._forgotten[-300:])

    def forget_all(self) -> None:
        """Forget all that has ended."""
        present = self._history.present.values()
        self._forget([story for story in present if story.state in ENDED])

    def _is_old(self, story: Story) -> bool:
        has_ended = story.state in ENDED
        return has_ended and self._history.true_ms - story.changed_at_ms > FORGET_MS

    def _forget(self, stories: list[Story]) -> None:
        for story in stories:
            self._history.forget(story)
        job_ids = [story.job_id for story in stories]
        self._forgotten += job_ids
        self._delete(job_ids)

    def _delete(self, job_ids: list[str]) -> None:
        prefix = self._world.prefix
        keys = [f"{prefix}{kind}:{job_id}" for job_id in job_ids for kind in "jyv"]
        if keys:
            self._host.wire.ask(("DEL", *keys), ("ZREM", f"{prefix}x", *job_ids))

    def _check_wait(self, story: Story) -> None:
        """L2: nothing that is ready waits for long while a worker that is well has room."""
        now_ms = self._history.true_ms
        queue, _, _ = story.lane.rpartition(":")
        if _LIMITED.search(story.holds) or queue in self._history.limits.paused:
            story.ready_since_ms = None
            return
        if story.state != "w" or story.due_ms > self._host.clock_ms:
            return
        if story.ready_since_ms is None:
            story.ready_since_ms = now_ms
        if now_ms - story.ready_since_ms <= LONGEST_WAIT_MS or story.crashes >= 2:
            return
        for worker in self._world.workers:
            since_ms = max(self._free_since(worker), story.ready_since_ms)
            if now_ms - since_ms > LONGEST_WAIT_MS and self._serves(worker, story):
                waited = now_ms - story.ready_since_ms
                raise Violation(
                    f"L2: job {story.job_id} has waited for {waited:.0f} ms, and {worker.name} is "
                    f"well and has had room since {since_ms:.0f}\n{story}"
                )

    def _free_since(self, worker: Worker) -> float:
        troubles = [end for _, end in (*worker.troubles, *self._host.troubles)]
        executor = worker.executor
        full_at_ms = executor.full_at_ms if executor.room > 0 else self._history.true_ms
        return max(worker.began_ms, full_at_ms, self._host.away_until, *troubles)

    @staticmethod
    def _serves(worker: Worker, story: Story) -> bool:
        queue, _ = split_lane(story.job.lane.partition(" ")[0])
        knows = worker.post.knows_all or story.job.task != UNKNOWN_TO_SOME
        return queue in worker.post.queues and knows and not worker.is_draining
