"""What must be true of schedules: each occurrence is fired once, in its turn, and is one job."""

from collections.abc import Mapping, Sequence

from aioq.broker.schedules import Fire
from aioq.broker.scripts import NewJob
from tests.simulation.stories import ENDED, Story, Violation


class Occurrences:
    """Which occurrence of each schedule comes next, and which job was the last."""

    def __init__(self) -> None:
        self.next_ms: dict[str, int] = {}
        self.last: dict[str, str] = {}

    def restore(self, next_ms: Mapping[str, int], last: Mapping[str, str]) -> None:
        """Believe a server that was set back."""
        self.next_ms, self.last = dict(next_ms), dict(last)

    def fired(
        self, verdicts: str, fires: Sequence[Fire], stories: Mapping[str, Story]
    ) -> list[Story]:
        """Judge a call; return the jobs that it has made."""
        made: list[Story] = []
        for fire, verdict in zip(fires, verdicts, strict=True):
            expected = self._expected(fire, stories)
            if verdict != expected:
                raise Violation(f"G8: {fire} got the verdict {verdict}, not {expected}")
            if verdict == "L":
                continue
            self.next_ms[fire.name] = fire.next_ms
            if verdict == "K" and fire.op != "m":
                self.last[fire.name] = fire.job_id
                known = stories.get(fire.job_id)
                if known is None or not known.state:
                    job = NewJob(fire.job_id, fire.lane, fire.task, "", "", "", fire.payload)
                    made.append(known or Story(job))
        return made

    def _expected(self, fire: Fire, stories: Mapping[str, Story]) -> str:
        if self.next_ms[fire.name] != fire.occurrence:
            return "L"
        last = stories.get(self.last.get(fire.name, ""))
        goes_on = last is not None and last.state not in {"", *ENDED} and not last.is_forgotten
        return "O" if fire.op == "s" and goes_on else "K"
