"""The history: every call in the order in which the server executed it, and what must follow.

It is told of each call and its reply whether or not the one who sent it ever hears of that.  So it
knows more than any process of the simulation, and a reply that does not follow from what was
before is a violation at once.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from aioq.broker.resp import ReplyError
from aioq.broker.schedules import Fire
from aioq.broker.scripts import (
    Beaten,
    Delivery,
    End,
    Enqueued,
    Fetched,
    Limit,
    NewJob,
    Reaped,
    Settlement,
    Update,
)
from tests.broker.gates import is_limited
from tests.simulation.limits import Limits
from tests.simulation.occurrences import Occurrences
from tests.simulation.stories import ENDED, Found, Incarnation, Run, Story, Violation
from tests.simulation.turns import Message

Look = Callable[[Sequence[str]], list[Found | None]]
LEASE_MS = 30_000
SILENCE_MS = 15_000
"""Of the 20 s that a lease runs on after a beat was due, at least so much must be accounted for."""


class History:
    """What has happened so far."""

    def __init__(self, look: Look, silence: Callable[[Incarnation], float]) -> None:
        self._look = look
        self._silence = silence
        self.clock_ms = 0
        """The server's clock."""
        self.latest_ms = 0
        """The latest that it ever was; the clock may have been put back since."""
        self.true_ms = 0.0
        self.stories: dict[str, Story] = {}
        self.present: dict[str, Story] = {}
        """Those whose records are not forgotten."""
        self.has_gone_back = False
        """Whether the clock, or the server, was ever set back."""
        self.incarnations: dict[str, Incarnation] = {}
        self.deaths: dict[str, str] = {}
        """How many deaths of a worker a job of a task survives."""
        self.limits = Limits()
        self.occurrences = Occurrences()
        self.figures: Counter[str] = Counter()
        self.touched: list[str] = []
        """The jobs that the last call has changed."""

    def set_time(self, clock_ms: int, true_ms: float) -> None:
        """Tell the time."""
        self.clock_ms, self.true_ms = clock_ms, true_ms
        self.latest_ms = max(self.latest_ms, clock_ms)
        self.limits.set_time(clock_ms)

    def begin(self, story: Story) -> None:
        """Tell of a job that somebody is about to enqueue."""
        self.stories[story.job_id] = self.present[story.job_id] = story

    def forget(self, story: Story) -> None:
        """Tell that the record of an ended job is gone."""
        story.is_forgotten = True
        self.present.pop(story.job_id, None)

    def difference(self, story: Story, found: Found | None) -> str:
        """Say in what a record is not what it should be; "" for nothing."""
        before = story.state
        text = story.differs_from(found, self.latest_ms)
        if story.state != before:  # it has expired, of which nobody is told
            story.changed_at_ms = self.true_ms
        return text

    def acknowledged(self, job_id: str) -> None:
        """Tell that a caller was promised a job."""
        story = self.stories[job_id]
        story.is_acked = True
        self.figures["acknowledged"] += 1

    def note(self, message: Message, reply: Any) -> None:  # noqa: ANN401 - as the script has it
        """Judge a call and its reply."""
        self.touched = []
        getattr(self, f"_note_{message.kind.replace('/', '_')}")(reply, *message.about)
        for job_id in self.touched:
            story = self.stories[job_id]
            story.changed_at_ms, story.ready_since_ms = self.true_ms, None

    def refused(self, message: Message, error: ReplyError) -> None:
        """Judge a call that the server refused."""
        self.touched = []
        text = str(error)
        if message.kind in {"enqueue", "schedules/fire"} and "OOM" in text:
            self.figures["enqueues refused by a full server"] += 1
        elif message.kind in {"fetch", "recover"} and "comes too late" in text:
            self.figures["calls refused for their epoch"] += 1
        else:
            raise Violation(f"the server refused what it must take: {text}")

    def restore(
        self,
        touched: set[str],
        leases: dict[str, float],
        deaths: dict[str, str],
        offset_ms: int,
    ) -> None:
        """Go back with a server that has lost its last calls; nothing else may have changed.

        Args:
            touched: the jobs that the lost calls had changed.
            leases: those of the workers.
            deaths: how many a job of each task survives.
            offset_ms: what the server's clock is ahead of the true time.
        """
        self.has_gone_back = True
        stories = list(self.present.values())
        for story, found in zip(stories, self._look(list(self.present)), strict=True):
            if story.job_id in touched or (found and story.has_expired_by(found)):
                story.is_torn = True
                story.adopt(found)
                if not story.state:
                    self.figures["jobs lost with the log"] += 1
            else:
                self._compare("I1", story, found)
        for incarnation in self.incarnations.values():
            incarnation.has_lease = incarnation.name in leases
            renewed_at_ms = leases.get(incarnation.name, 0) - LEASE_MS - offset_ms
            if renewed_at_ms > 0:
                incarnation.renewed_at_ms = min(renewed_at_ms, incarnation.renewed_at_ms)
            if leases.get(incarnation.name, 0) > 0:
                incarnation.is_reaped = False
        self.deaths = dict.fromkeys(self.deaths, "3") | deaths

    def started(self, run: Run) -> None:
        """Note that a process runs a job; I4."""
        story = self.stories[run.job_id]
        story.runs = [other for other in story.runs if other.process.is_alive]
        for other in story.runs:
            is_excused = other.token in story.taken or run.token in story.taken or story.is_torn
            if not is_excused:
                self._fail("I4", story, f"starts as {run} while it runs as {other}")
            self.figures["overlaps, excused"] += 1
        story.runs.append(run)
        self.figures["runs"] += 1

    def stopped(self, run: Run) -> None:
        """Note that a process does not run it any more."""
        story = self.stories[run.job_id]
        story.runs = [other for other in story.runs if other is not run]

    def _note_enqueue(self, reply: Enqueued, jobs: Sequence[NewJob]) -> None:
        for job, was_made in zip(jobs, reply.created, strict=True):
            story = self.stories[job.job_id]
            if story.is_forgotten:
                self._fail("G5", story, "was sent again after its record was gone")
            if not story.state:
                story.create(job.nonce, self.clock_ms)
                expected = True
                self.figures["jobs"] += 1
            else:
                expected = job.nonce in {"", story.nonce}
                self.figures["enqueues sent again"] += 1
            if was_made != expected:
                self._fail("I6", story, f"was made: {was_made}, and should be: {expected}")
            self.touched.append(job.job_id)

    def _note_fetch(self, reply: Fetched, worker: str, lanes: Sequence[str]) -> None:
        if reply.now_us < 0:
            return
        if reply.dropped:
            raise Violation(f"I14: entries without a job: {reply.dropped}")
        if self.incarnations[worker].is_reaped:
            raise Violation(f"I4: {worker} was reaped, and is handed jobs: {reply.deliveries}")
        count = len(lanes)
        if sum(lanes[each.lane % count].endswith(":z") for each in reply.deliveries) > 1:
            raise Violation(f"I13: two suspects at once: {reply.deliveries}")
        for delivery in reply.deliveries:
            self._delivered(delivery, worker, lanes[delivery.lane % count])
            self._passed(delivery, is_gated=delivery.lane >= count)

    def _delivered(self, delivery: Delivery, worker: str, lane: str) -> None:
        story = self.stories.get(delivery.job_id.decode())
        if story is None or not story.state:
            raise Violation(f"I6: nobody enqueued {delivery}")
        if story.state in ENDED:
            self._fail("I3", story, f"has ended, and is handed to {worker}")
        if story.state == "r":
            self._fail("I4", story, f"is handed to {worker} while {story.holder} has it")
        # Where the clock was put back, it may have become due before.
        if self.latest_ms < story.due_ms:
            self._fail("I10", story, f"is due in {story.due_ms - self.clock_ms} ms")
        if story.expires_ms is not None and self.clock_ms >= story.expires_ms:
            self._fail("I10", story, "has expired, and is handed out")
        if story.is_revoked:
            self._fail("I3", story, f"was revoked while it ran, and is handed to {worker}")
        self._check_token(story, delivery.entry_id)
        if (lane, delivery.retries, delivery.deliveries) != (
            story.lane,
            story.retries,
            story.ended + 1,
        ):
            self._fail("I13", story, f"comes as {delivery} from {lane}")
        story.deliver(delivery.entry_id, worker)
        self.touched.append(story.job_id)

    def _passed(self, delivery: Delivery, *, is_gated: bool) -> None:
        """G7: no limit is exceeded at any instant."""
        story = self.stories[delivery.job_id.decode()]
        if is_gated != is_limited(story.holds):
            self._fail("G7", story, f"has passed its gate: {is_gated}")
        if story.lane.rpartition(":")[0] in self.limits.paused:
            self._fail("pause", story, "is of a paused queue, and is handed out")
        if story.holds:
            self.figures["starts of held jobs"] += 1
            running = [each.holds for each in self.present.values() if each.state == "r"]
            if text := self.limits.started(story.holds, running):
                self._fail("G7", story, f"starts, and {text}")

    def _check_token(self, story: Story, token: bytes) -> None:
        if token in story.tokens:
            self._fail("I5", story, f"had the token {token!r} before")
        if not self.has_gone_back and _moment(token) <= _moment(story.token):
            self._fail("I5", story, f"had a larger token than {token!r}")

    def _note_settle(self, verdicts: str, words: Sequence[Settlement]) -> None:
        # All are judged before anything changes.
        expected = [self._judged(self.stories[word.job_id.decode()], word) for word in words]
        for word, verdict, right in zip(words, verdicts, expected, strict=True):
            story = self.stories[word.job_id.decode()]
            if verdict not in right:
                self._fail("I2", story, f"got the verdict {verdict}, not {right}, on {word}")
            if verdict == "K":
                story.settle(word, self.deaths, self.clock_ms)
                self.touched.append(story.job_id)
                self.figures[f"settled {word.op}"] += 1
            else:
                self.figures[f"words refused {verdict}"] += 1

    def _judged(self, story: Story, word: Settlement) -> str:
        """Return the verdicts that are right."""
        if story.is_forgotten or not story.state:
            return "G"
        if story.state in ENDED:
            return "D"
        if word.entry_id == story.token and story.state == "r":
            return "K"
        if story.queued and word.entry_id == story.queued:
            # The claim was taken back by a restart, and the work was done; or it has expired.
            return "K" if story.expires_ms is None else "KD"
        return "SD" if story.state == "w" else "S"

    def _note_update(self, flags: Sequence[bool], updates: Sequence[Update]) -> None:
        for update, was_noted in zip(updates, flags, strict=True):
            story = self.stories[update.job_id.decode()]
            expected = story.state == "r" and story.token == update.entry_id
            if was_noted != expected:
                self._fail("I5", story, f"took {update}: {was_noted}")
            if was_noted:
                story.waits_inside = update.mark == "v"
                self.touched.append(story.job_id)

    def _note_register(self, _: int, worker: str, limits: Iterable[Limit]) -> None:
        incarnation = self.incarnations[worker]
        if not incarnation.has_lease:  # one that comes too late gives one again; it will end
            incarnation.has_lease, incarnation.is_reaped = True, False
            incarnation.renewed_at_ms = self.true_ms
        self.deaths |= {each.task: each.limit or "3" for each in limits}

    def _note_beat(self, reply: Beaten, worker: str) -> None:
        incarnation = self.incarnations[worker]
        if not reply.alive:
            return
        if incarnation.is_reaped:
            raise Violation(f"I4: {worker} was reaped, and its lease is renewed")
        incarnation.renewed_at_ms = self.true_ms

    def _note_reap(self, reply: Reaped, named: str, is_crash: bool) -> None:  # noqa: FBT001
        changes = self._changes({named} if named else None) if reply.taken else []
        for worker in {named} - {""} or sorted({*reply.workers, *(s.holder for s, _ in changes)}):
            self._judge_reap(self.incarnations[worker], named, is_crash=is_crash)
        for worker in reply.workers:
            self.incarnations[worker].has_lease = False
        for story, found in changes:
            incarnation = self.incarnations[story.holder]
            is_excused = incarnation.gave_up or story.is_torn
            if not named and incarnation.has_left and not is_excused:
                self._fail("G12", story, f"was left behind by {story.holder}")
            story.taken.add(story.token)
            if story.is_revoked:
                story.finish("x")
            elif not is_crash or story.waits_inside:
                story.again(self.clock_ms)
            else:
                story.crash(self.deaths.get(story.job.task, "3"), self.clock_ms)
            self._compare("I13", story, found)
            self.touched.append(story.job_id)
        self.figures["deliveries taken over"] += reply.taken
        self.figures["workers reaped"] += len(reply.workers)

    def _judge_reap(self, incarnation: Incarnation, named: str, *, is_crash: bool) -> None:
        """I4: nobody loses its jobs who lives and can reach the server."""
        if incarnation.is_reaped:
            return
        incarnation.is_reaped = True
        if incarnation.is_replaced:
            return
        if not incarnation.process.is_alive or incarnation.has_left:
            return
        if named:
            raise Violation(f"I4: {named} is reaped by name, crashed: {is_crash}, and lives")
        silence_ms = self._silence(incarnation)
        if silence_ms < SILENCE_MS:
            beaten = self.true_ms - incarnation.renewed_at_ms
            raise Violation(
                f"I4: {incarnation.name} is reaped, and lives; its last beat was {beaten:.0f} ms "
                f"ago, and only {silence_ms:.0f} ms of that are accounted for"
            )
        self.figures["living workers reaped, excused"] += 1

    def _note_recover(self, given: int, worker: str, known: Sequence[bytes]) -> None:
        for story, found in self._changes({worker}) if given else []:
            runs = [run for run in story.runs if run.token == story.token]
            delivery = story.token + b" " + story.job_id.encode()
            goes_on = any(run.process.is_alive for run in runs) and not story.is_torn
            if delivery in known or goes_on:
                self._fail("I4", story, f"is given back while {runs} goes on; {found}")
            if story.is_revoked:
                story.finish("x")
            else:
                story.again(self.clock_ms)
            self._compare("I13", story, found)
            self.touched.append(story.job_id)
        self.figures["deliveries recovered"] += given

    def _note_revoke(self, flags: Sequence[bool], at_once: bool, job_ids: Sequence[str]) -> None:  # noqa: FBT001
        for job_id, was_accepted in zip(job_ids, flags, strict=True):
            story = self.stories[job_id]
            if not was_accepted:
                self._notice_expiry(story)
            if was_accepted != story.is_alive:
                self._fail("revoke", story, f"was accepted: {was_accepted}")
            if story.state == "r" and not at_once:
                story.is_revoked = True
            elif story.is_alive:
                if story.state == "r":
                    story.taken.add(story.token)
                story.finish("x")
                self.figures["revoked at once"] += 1
            self.touched.append(job_id)

    def _note_replay(self, verdicts: str, nonce: str, job_ids: Sequence[str]) -> None:
        for job_id, verdict in zip(job_ids, verdicts, strict=True):
            story = self.stories[job_id]
            self._notice_expiry(story)
            if story.is_forgotten or not story.state:
                expected = "-"
            elif story.handled_by == nonce or (story.state == "f" and not story.is_discarded):
                expected = "K"
            else:
                expected = story.state
            if verdict != expected and not (expected == "w" and verdict in "qdp"):
                self._fail("replay", story, f"got the verdict {verdict}, not {expected}")
            if verdict == "K" and story.handled_by != nonce:
                story.replay(nonce, self.clock_ms)
                self.figures["replayed"] += 1
            self.touched.append(job_id)

    def _note_discard(self, flags: Sequence[bool], nonce: str, job_ids: Sequence[str]) -> None:
        for job_id, was_discarded in zip(job_ids, flags, strict=True):
            story = self.stories[job_id]
            is_letter = story.state == "f" and not story.is_discarded and not story.is_forgotten
            expected = is_letter or (story.handled_by == nonce and not story.is_forgotten)
            if was_discarded != expected:
                self._fail("discard", story, f"was discarded: {was_discarded}")
            if is_letter:
                story.is_discarded, story.handled_by = True, nonce
            self.touched.append(job_id)

    def _note_wait(self, ends: Sequence[End], job_ids: Sequence[str]) -> None:
        for job_id, end in zip(job_ids, ends, strict=True):
            story = self.stories[job_id]
            self._notice_expiry(story)
            alive = "" if story.is_forgotten or not story.state else "-"
            expected = story.state if story.state in ENDED and not story.is_forgotten else alive
            if end.state != expected:
                self._fail("I2", story, f"is said to have ended as {end}")

    def _note_limits_change(self, is_declared: bool, field: str, numbers: str) -> None:  # noqa: FBT001
        if not is_declared:
            raise Violation(f"the limit {field} is not known")
        self.limits.change(field, numbers)

    def _note_limits_wake(self, _: int) -> None:
        """Gates are looked at again."""

    def _note_queues_pause(self, _: bool, queue: str) -> None:  # noqa: FBT001
        self.limits.paused.add(queue)
        self.figures["pauses"] += 1

    def _note_queues_resume(self, _: bool, queue: str) -> None:  # noqa: FBT001
        self.limits.paused.discard(queue)

    def _note_schedules_due(self, _: object) -> None:
        """Nothing was written."""

    def _note_schedules_fire(self, verdicts: str, fires: Sequence[Fire]) -> None:
        for story in self.occurrences.fired(verdicts, fires, self.stories):
            self.begin(story)
            story.create("", self.clock_ms)
            self.touched.append(story.job_id)
            self.figures["occurrences"] += 1

    def _note_ring(self, _: int) -> None:
        """A token was passed on."""

    def _note_pop(self, _: bytes | None) -> None:
        """A token was taken."""

    def _notice_expiry(self, story: Story) -> None:
        """Some call may have ended it, for nobody is told of that."""
        if story.state == "w" and story.expires_ms and story.expires_ms <= self.latest_ms:
            found = self._look([story.job_id])[0]
            self.difference(story, found)

    def _changes(self, workers: set[str] | None) -> list[tuple[Story, Found | None]]:
        """Return what runs as far as is known, on these workers, and does so no more."""
        running = [
            story
            for story in self.present.values()
            if story.state == "r" and (workers is None or story.holder in workers)
        ]
        seen = self._look([story.job_id for story in running])
        return [
            (story, found)
            for story, found in zip(running, seen, strict=True)
            if found is None or (found.state, found.token) != ("r", story.token)
        ]

    def _compare(self, name: str, story: Story, found: Found | None) -> None:
        if difference := self.difference(story, found):
            self._fail(name, story, difference)

    def _fail(self, name: str, story: Story, text: str) -> None:
        raise Violation(f"{name}: job {story.job_id} of {story.job.task} {text}\n{story}")


def _moment(token: bytes) -> tuple[int, ...]:
    """Return what the order of tokens is."""
    return tuple(map(int, token.split(b"-"))) if token else (0,)
