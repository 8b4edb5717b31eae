"""Which jobs ran, written by the jobs themselves into a file that worker and harness both map.

One byte per job is incremented by each run, so a lost job reads 0 and a repeated one 2 or more,
also when the worker was killed meanwhile.  Standard library only: every peer imports this file.
"""

import mmap
import time
from pathlib import Path
from typing import Self

_WORD = 8
_RUNS, _FIRST_START, _LAST_END, _HEADER_WORDS = 0, 1, 2, 3


class Ledger:
    """A header, one start time per job (only timed jobs write it), one byte per job."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        whole = memoryview(self._map)
        self.jobs = (len(whole) - _HEADER_WORDS * _WORD) // (_WORD + 1)
        self._bytes_from = (_HEADER_WORDS + self.jobs) * _WORD
        self._header = whole[: _HEADER_WORDS * _WORD].cast("Q")
        self._starts = whole[_HEADER_WORDS * _WORD : self._bytes_from].cast("Q")
        self._runs_of = whole[self._bytes_from :]

    @classmethod
    def create(cls, path: Path, jobs: int) -> Self:
        """Make the file, all zeros, for jobs numbered from 0."""
        with path.open("wb") as file:
            file.truncate(_HEADER_WORDS * _WORD + jobs * (_WORD + 1))
        return cls(path)

    def begin(self) -> None:
        """Note that a job starts now; only jobs that take time need it."""
        if not self._header[_FIRST_START]:
            self._header[_FIRST_START] = time.monotonic_ns()

    def stamp(self, index: int) -> None:
        """Note by the wall clock when this job started, for lateness."""
        self._starts[index] = time.time_ns()

    def mark(self, index: int) -> None:
        """Record one finished run of a job."""
        self._runs_of[index] += 1
        header = self._header
        header[_RUNS] += 1
        now = time.monotonic_ns()
        if not header[_FIRST_START]:
            header[_FIRST_START] = now
        header[_LAST_END] = now

    def restart_clock(self) -> None:
        """Forget count and times, for a next worker on the same jobs; what ran stays recorded."""
        self._header[_RUNS] = self._header[_FIRST_START] = self._header[_LAST_END] = 0

    @property
    def runs(self) -> int:
        """Runs so far.  A progress figure: two processes marking at once may lose a count here."""
        return self._header[_RUNS]

    @property
    def started(self) -> bool:
        """Whether any job has begun."""
        return self._header[_FIRST_START] != 0

    @property
    def seconds(self) -> float:
        """Wall time from the first start to the last end."""
        return (self._header[_LAST_END] - self._header[_FIRST_START]) / 1e9

    def start_times(self) -> list[float]:
        """Return the wall clock times in seconds at which the stamped jobs started."""
        return [start / 1e9 for start in self._starts]

    def all_ran(self) -> bool:
        """Say whether every job has run at least once, by its own byte."""
        return self._map.find(b"\0", self._bytes_from) == -1

    def lost_and_repeated(self) -> tuple[int, int]:
        """Return how many jobs never ran, and how many ran more than once."""
        runs_of = bytes(self._runs_of)
        lost = runs_of.count(0)
        return lost, len(runs_of) - lost - runs_of.count(1)
