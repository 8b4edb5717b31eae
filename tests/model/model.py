"""What the scripts should do, in plain Python: no streams, no scripts, no server.

A job is its record, as `Place.dump` shows it; everything else follows from that.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from aioq.broker.scripts import NewJob, Settlement
from tests.broker.gates import gate_of, place_of, wait_of
from tests.broker.place import CURRENT, record
from tests.model.gates import Gates
from tests.model.workers import Workers

FINAL = {"completed", "failed", "revoked"}
OF_A_RUN = ("token", "worker", "started", "mark")


class Got(NamedTuple):
    """One job that a fetch has brought."""

    name: str
    place: str
    """The lane that was asked for."""
    is_limited: bool


class Model:
    """All jobs of an app."""

    def __init__(
        self, now: int, dead_max: int, deaths: dict[str, float], limits: Mapping[str, str]
    ) -> None:
        self.now = now
        self.dead_max = dead_max
        self.deaths = deaths
        """Deaths of a worker that bury a job, by task, where they are not 3."""
        self.workers = Workers(now)
        self.gates = Gates(limits)
        self.paused: set[str] = set()
        self.jobs: dict[str, dict[str, Any]] = {}
        self.payloads: dict[str, bytes] = {}
        self.tokens: dict[str, bytes] = {}
        """The last one that was handed out; no other can be used."""
        self.values: dict[str, bytes] = {}
        """Large results, and errors of jobs that will be tried again."""
        self.lanes: dict[str, list[str]] = {}
        self.delayed: dict[str, int] = {}
        self.dead: dict[str, int] = {}

    def advance(self, ms: int) -> None:
        """Let time pass."""
        self.now += ms
        self.workers.now = self.now

    def enqueue(self, new: NewJob) -> bool:
        """Create a job, unless its id is known; tell whether this call made it."""
        name, expires = new.job_id, self.now + int(new.expires or 0)
        if name in self.jobs:
            return new.nonce in {"", self.jobs[name].get("nonce")}
        lane, _, holds = new.lane.partition(" ")
        optional = {"nonce": new.nonce, "expires": new.expires and expires, "holds": holds}
        given = {field: value for field, value in optional.items() if value}
        self.jobs[name] = record("queued", lane=lane, enqueued=self.now, task=new.task, **given)
        self.payloads[name] = new.payload
        self._wait(name, int(new.due or 0))
        if name in self.delayed and new.expires:
            self.delayed[name] = min(self.delayed[name], expires)
        return True

    def fetch(
        self,
        worker: str,
        room: int,
        places: list[str],
        got: list[Got],
        has_ended: Callable[[str], bool],
        asleep: set[str],
    ) -> None:
        """Promote what is due, then follow the server in what it has handed out.

        Which of several gates goes first, and which expired jobs it has come across, is its choice;
        nothing else is.  A gate that slept until this call, and was woken by it, is for the next.
        """
        self._promote()
        order = [places.index(each.place) for each in got]
        assert order == sorted(order), "the lanes are taken from in their order"
        assert len(got) <= room
        assert sum(each.place.endswith(":z") for each in got) <= 1, "one suspect at a time"
        for each in got:
            assert each.place.rpartition(":")[0] not in self.paused
            self._hand_out(each, worker)
        for place in places:
            self._see_expired(place, has_ended)
        has_suspect = any(each.place.endswith(":z") for each in got)
        for place in self._looked_at(places, order, room):
            if not (place.endswith(":z") and has_suspect):
                assert self._first_of(place, asleep) is None, f"{place} has more, and there is room"

    @staticmethod
    def _looked_at(places: list[str], order: list[int], room: int) -> list[str]:
        """Return the lanes that a fetch has come to the end of."""
        if len(order) < room:
            return places
        return places[: order[-1]] if order else []

    def _promote(self) -> None:
        for due, name in sorted((due, name) for name, due in self.delayed.items()):
            if due <= self.now:
                del self.delayed[name]
                if self.jobs[name]["state"] == "parked":
                    self.gates.unpark(name, self._wait_lane(name), self.jobs[name]["holds"])
                    assert self._expires(name)
                elif not self._expires(name):
                    self._queue(name)

    def _hand_out(self, got: Got, worker: str) -> None:
        job, name = self.jobs[got.name], got.name
        if "holds" in job:
            gate, _ = gate_of(got.place, job["holds"])
            while (head := self.gates.head(gate)) != name:
                assert head is not None and self._expires(head), f"{head} was before {name}"
                self.gates.advance(gate)
            self.gates.advance(gate)
            self.delayed.pop(name, None)
            self.gates.admit(name, job["holds"], self.now * 1000)
            self.lanes.setdefault(self._place(name), []).append(name)
        else:
            while (first := self._queued_in(got.place)[0]) != name:
                assert self._expires(first), f"{first} was before {name}"
                self.lanes[got.place].remove(first)
        assert not self._expires(name), f"{name} has expired"
        job |= {"state": "running", "worker": worker, "started": self.now - job["enqueued"]}

    def _queued_in(self, place: str) -> list[str]:
        return [name for name in self.lanes.get(place, []) if self.jobs[name]["state"] == "queued"]

    def _see_expired(self, place: str, has_ended: Callable[[str], bool]) -> None:
        for name in self._queued_in(place):
            if self._is_late(name) and has_ended(name) and self._expires(name):
                self.lanes[place].remove(name)
        for gate in self.gates.of_lane(place):
            while (head := self.gates.head(gate)) and self._is_late(head) and has_ended(head):
                self._expires(head)
                self.gates.advance(gate)

    def _first_of(self, place: str, asleep: set[str]) -> str | None:
        """Return a job that could be handed out."""
        if place.rpartition(":")[0] in self.paused:
            return None
        awake = [gate for gate in self.gates.of_lane(place) if gate not in asleep]
        heads = [self.gates.head(gate) or "" for gate in awake]
        free = [name for name in heads if not self.obstacles(name)]
        return next(iter([*self._queued_in(place), *free]), None)

    def obstacles(self, name: str) -> list[str]:
        """Return what stops a parked job."""
        return self.gates.obstacles(self.jobs[name]["holds"], self.now * 1000)

    def mark(self, name: str, token: bytes, mark: str) -> bool:
        """Note that a delivery waits inside its worker (v), or has started then (s)."""
        job = self.jobs[name]
        if job["state"] != "running" or self.tokens[name] != token:
            return False
        if mark == "v":
            job["mark"] = "v"
        else:
            job.pop("mark", None)
            job["started"] = self.now - job["enqueued"]
        return True

    def settle(self, words: list[Settlement]) -> str:
        """Say the last word on some deliveries: all are judged before anything changes."""
        verdicts: list[str] = []
        judged: set[tuple[bytes, bytes]] = set()
        for word in words:
            verdict = self._judge(word.job_id.decode(), word.entry_id)
            verdicts.append("D" if (word.job_id, word.entry_id) in judged else verdict)
            judged |= {(word.job_id, word.entry_id)} if verdict == "K" else set()
        for word, verdict in zip(words, verdicts, strict=True):
            name = word.job_id.decode()
            if verdict == "K" and word.op == "p":
                self._park(name, str(word.argument))
            elif verdict == "K":
                self._apply(name, word.op, int(word.argument or 0), word.value)
            elif verdict == "D" and self.jobs[name]["state"] == "revoked":
                self.workers.hear(self.jobs[name].get("worker"), word.entry_id, name)
        return "".join(verdicts)

    def _judge(self, name: str, token: bytes) -> str:
        state = self.jobs[name]["state"] if name in self.jobs else None
        if state is None or state in FINAL:
            return "D" if state else "G"
        if self.tokens[name] != token or state == "queued":
            return "S"
        return "K" if state == "running" else "D"

    def _apply(self, name: str, op: str, argument: int, value: bytes) -> None:
        job = self.jobs[name]
        self._leave_lane(name)
        since = job.get("unknown_since", self.now)
        if "revoke" in job:
            self._revoked(name)
        elif op == "c":
            self._finish(name, "completed", value if argument else None)
        elif op == "f" or (op == "u" and self.now - since >= argument):
            self._bury(name, value)
        elif op == "l":
            self._crash(name, value)
        else:
            if op == "u":
                job["unknown_since"] = since
                argument = min(max(self.now - since, 1000), 30_000, argument)
            elif op == "r":
                job["retries"], self.values[name] = job.get("retries", 0) + 1, value
                job.pop("unknown_since", None)
                argument = max(argument, 1 if job.pop("crashes", 0) else 0)
            self._again(name, argument)

    def _park(self, name: str, holds: str) -> None:
        """Let a job wait for limits that it had not passed; that counts for nothing."""
        job = self.jobs[name]
        self._leave_lane(name)
        if "revoke" in job:
            self._revoked(name)
            return
        job["holds"] = " ".join(filter(None, (holds, job.get("holds"))))
        job["ended"] = job.get("ended", 0) - 1
        self._again(name, 1)

    def held_by(self, worker: str) -> list[str]:
        """Return the jobs that a worker holds, in the order of their entries."""
        entries = (name for lane in self.lanes.values() for name in lane)
        return [name for name in entries if self.jobs[name].get("worker") == worker]

    def take_over(self, names: list[str], *, is_crash: bool) -> None:
        """End deliveries whose worker is dead, or has left, or never heard of them."""
        for name in names:
            job = self.jobs[name]
            self._leave_lane(name)
            if "revoke" in job:
                self._revoked(name)
            elif is_crash and "mark" not in job:
                self._crash(name, b"a long story of the death of a worker, over 64 bytes " * 2)
            else:
                self._again(name, 0)

    def revoke(self, name: str, *, at_once: bool, keep_ms: int) -> bool:
        """End a job on request."""
        job = self.jobs[name]
        if job["state"] in FINAL:
            return False
        is_running = job["state"] == "running"
        if is_running:
            self.workers.tell(job["worker"], self.tokens[name], name)
        if is_running and not at_once:
            job.setdefault("revoke", str(keep_ms))
            return True
        if job["state"] == "delayed":
            del self.delayed[name]
        elif job["state"] == "parked":
            self.gates.unpark(name, self._wait_lane(name), job["holds"])
            self.delayed.pop(name, None)
        else:
            self._leave_lane(name)
        self._finish(name, "revoked", b"revoked")
        return True

    def _leave_lane(self, name: str) -> None:
        self.lanes[self._place(name)].remove(name)
        self.gates.release(name)

    def _place(self, name: str) -> str:
        job = self.jobs[name]
        return place_of(job["lane"], job.get("crashes", 0), job.get("holds"))

    def _wait_lane(self, name: str) -> str:
        return wait_of(self.jobs[name]["lane"], self.jobs[name].get("crashes", 0))

    def _crash(self, name: str, value: bytes) -> None:
        job = self.jobs[name]
        job["crashes"] = crashes = job.get("crashes", 0) + 1
        if crashes >= self.deaths.get(job["task"], 3):
            self._bury(name, value)
        else:
            self._again(name, min(2**crashes, 30) * 1000 if crashes > 1 else 0)

    def _again(self, name: str, pause: int) -> None:
        job = self.jobs[name]
        job["ended"] = job.get("ended", 0) + 1
        for field in OF_A_RUN:
            job.pop(field, None)
        self._wait(name, pause)

    def _wait(self, name: str, pause: int) -> None:
        if pause <= 0:
            self._queue(name)
        else:
            self.jobs[name] |= {"state": "delayed", "due": self.now + pause}
            self.delayed[name] = self.now + pause

    def _queue(self, name: str) -> None:
        job = self.jobs[name]
        if "holds" in job:
            job["state"] = "parked"
            self.gates.park(name, self._wait_lane(name), job["holds"])
            if "expires" in job:  # to end in time, wherever it stands in its line
                self.delayed[name] = job["expires"]
        else:
            job["state"] = "queued"
            self.lanes.setdefault(self._place(name), []).append(name)

    def _is_late(self, name: str) -> bool:
        return self.jobs[name].get("expires", self.now + 1) <= self.now

    def _expires(self, name: str) -> bool:
        if not self._is_late(name):
            return False
        self._finish(name, "revoked", b"expired")
        return True

    def _revoked(self, name: str) -> None:
        self.workers.hear(self.jobs[name]["worker"], self.tokens[name], name)
        self._finish(name, "revoked", b"revoked")

    def _bury(self, name: str, value: bytes) -> None:
        self._finish(name, "failed", value)
        self.dead[name] = self.now
        oldest = sorted(self.dead, key=lambda each: (self.dead[each], each))
        for each in oldest[: max(len(oldest) - self.dead_max, 0)]:
            # Its record stays for a while: a resend must find it.
            del self.dead[each], self.payloads[each]
            self.values.pop(each, None)

    def _finish(self, name: str, state: str, value: bytes | None) -> None:
        job = self.jobs[name]
        job |= {"state": state, "finished": self.now - job["enqueued"]}
        self.values.pop(name, None)
        if value is not None and len(value) <= 64:
            job["value"] = value
        elif value is not None:
            self.values[name] = value

    def dump(self) -> dict[str, Any]:
        """Return what the server should hold; see `Place.dump`."""
        found: dict[str, Any] = {
            f"s:{place}": [(n, self.payloads[n], self.jobs[n].get("worker")) for n in names]
            for place, names in self.lanes.items()
            if names
        }
        for name, job in self.jobs.items():
            found[f"j:{name}"] = {**job, **self._token(name, job["state"])}
            if job["state"] in {"delayed", "parked"} or name in self.dead:
                found[f"y:{name}"] = self.payloads[name]
            if name in self.values:
                found[f"v:{name}"] = self.values[name]
        sets = {"d": self.delayed, "x": self.dead, "qp": self.paused}
        found |= {name: members for name, members in sets.items() if members}
        found |= {f"sl:{slot}": holders for slot, holders in self.gates.slots.items()}
        return found | self.workers.dump()

    def _token(self, name: str, state: str) -> dict[str, str]:
        if state in {"queued", "running"}:
            return {"token": CURRENT}
        held = state in {"delayed", "parked"} and name in self.tokens
        return {"token": self.tokens[name].decode()} if held else {}
