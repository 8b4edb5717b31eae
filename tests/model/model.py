"""What the scripts should do, in plain Python: no streams, no scripts, no server.

A job is its record, as `Place.dump` shows it; everything else follows from that.
"""

from typing import Any

from aioq.broker.scripts import NewJob, Settlement
from tests.broker.place import CURRENT, record

FINAL = {"completed", "failed", "revoked"}
OF_A_RUN = ("token", "worker", "started")


class Model:
    """All jobs of an app."""

    def __init__(self, now: int, dead_max: int) -> None:
        self.now = now
        self.dead_max = dead_max
        self.jobs: dict[str, dict[str, Any]] = {}
        self.payloads: dict[str, bytes] = {}
        self.tokens: dict[str, bytes] = {}
        """The last one that was handed out; no other can be used."""
        self.values: dict[str, bytes] = {}
        """Large results, and errors of jobs that will be tried again."""
        self.lanes: dict[str, list[str]] = {}
        self.delayed: dict[str, int] = {}
        self.dead: dict[str, int] = {}

    def enqueue(self, new: NewJob) -> bool:
        """Create a job, unless its id is known; tell whether this call made it."""
        name, expires = new.job_id, self.now + int(new.expires or 0)
        if name in self.jobs:
            return new.nonce in {"", self.jobs[name].get("nonce")}
        optional = {"nonce": new.nonce, "expires": new.expires and expires}
        given = {field: value for field, value in optional.items() if value}
        self.jobs[name] = record("queued", lane=new.lane, enqueued=self.now, **given)
        self.payloads[name] = new.payload
        self._wait(name, int(new.due or 0))
        if name in self.delayed and new.expires:
            self.delayed[name] = min(self.delayed[name], expires)
        return True

    def fetch(self, worker: str, room: int, lanes: list[str]) -> list[str]:
        """Promote what is due, then hand out jobs."""
        for due, name in sorted((due, name) for name, due in self.delayed.items()):
            if due <= self.now:
                del self.delayed[name]
                if not self._expires(name):
                    self._queue(name)
        taken: list[str] = []
        for lane in lanes:
            for name in list(self.lanes.get(lane, [])):
                job = self.jobs[name]
                if job["state"] != "queued" or len(taken) == room:
                    continue
                if self._expires(name):
                    self.lanes[lane].remove(name)
                    continue
                job |= {"state": "running", "worker": worker, "started": self.now - job["enqueued"]}
                taken.append(name)
        return taken

    def settle(self, words: list[Settlement]) -> str:
        """Say the last word on some deliveries: all are judged before anything changes."""
        verdicts = [self._judge(word.job_id.decode(), word.entry_id) for word in words]
        for word, verdict in zip(words, verdicts, strict=True):
            if verdict == "K":
                self._apply(word.job_id.decode(), word.op, int(word.argument or 0), word.value)
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
        self.lanes[job["lane"]].remove(name)
        since = job.get("unknown_since", self.now)
        if op == "c":
            self._finish(name, "completed", value if argument else None)
        elif op == "f" or (op == "u" and self.now - since >= argument):
            self._finish(name, "failed", value)
            self.dead[name] = self.now
            oldest = sorted(self.dead, key=lambda each: (self.dead[each], each))
            for each in oldest[: max(len(oldest) - self.dead_max, 0)]:
                # Its record stays for a while: a resend must find it.
                del self.dead[each], self.payloads[each]
                self.values.pop(each, None)
        else:
            if op == "u":
                job["unknown_since"] = since
                argument = min(max(self.now - since, 1000), 30_000, argument)
            elif op == "r":
                job["retries"], self.values[name] = job.get("retries", 0) + 1, value
            job["ended"] = job.get("ended", 0) + 1
            for field in OF_A_RUN:
                job.pop(field, None)
            self._wait(name, argument)

    def _wait(self, name: str, pause: int) -> None:
        if pause <= 0:
            self._queue(name)
        else:
            self.jobs[name] |= {"state": "delayed", "due": self.now + pause}
            self.delayed[name] = self.now + pause

    def _queue(self, name: str) -> None:
        self.jobs[name]["state"] = "queued"
        self.lanes.setdefault(self.jobs[name]["lane"], []).append(name)

    def _expires(self, name: str) -> bool:
        if self.jobs[name].get("expires", self.now + 1) > self.now:
            return False
        self._finish(name, "revoked", b"expired")
        return True

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
            f"s:{lane}": [(n, self.payloads[n], self.jobs[n].get("worker")) for n in names]
            for lane, names in self.lanes.items()
        }
        for name, job in self.jobs.items():
            found[f"j:{name}"] = {**job, **self._token(name, job["state"])}
            if job["state"] == "delayed" or name in self.dead:
                found[f"y:{name}"] = self.payloads[name]
            if name in self.values:
                found[f"v:{name}"] = self.values[name]
        sets = {"d": self.delayed, "x": self.dead}
        return found | {name: members for name, members in sets.items() if members}

    def _token(self, name: str, state: str) -> dict[str, str]:
        if state in {"queued", "running"}:
            return {"token": CURRENT}
        held = state == "delayed" and name in self.tokens
        return {"token": self.tokens[name].decode()} if held else {}
