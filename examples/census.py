"""Take a census of Python's standard library: one job for each file, two worker processes.

    python examples/census.py

Everything happens here: an embedded server is started, two workers are, and in the end nothing
of them is left.  Each job parses one file in a thread and counts what it finds.  Some files of
the standard library's own tests do not parse, so some jobs fail; one file appears late, so one
job is tried again.
"""

import ast
import asyncio
import os
import signal
import sys
import sysconfig
import tempfile
import time
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

from aioq import Aioq, Job, JobInfo, TaskFailed
from aioq.embedded import PrivateServer

app = Aioq()


@dataclass
class Census:
    """What one file holds."""

    lines: int
    functions: int
    classes: int
    imports: int


@app.task(autoretry_for=(FileNotFoundError,), default_retry_delay=0.5, result_expires=300)
def count(path: Path) -> Census:
    """Parse one file; a plain `def` runs in a thread, so the event loop stays free."""
    source = path.read_bytes()
    kinds = Counter(type(node) for node in ast.walk(ast.parse(source, path.name)))
    return Census(
        lines=source.count(b"\n"),
        functions=kinds[ast.FunctionDef] + kinds[ast.AsyncFunctionDef],
        classes=kinds[ast.ClassDef],
        imports=kinds[ast.Import] + kinds[ast.ImportFrom],
    )


async def main() -> int:
    """Run the whole demonstration."""
    files = standard_library()
    async with PrivateServer() as server:
        print(f"Embedded server   {server.url} (pid {server.pid})")
        workers = [await start_worker(server.url) for _ in range(2)]
        print(f"Two workers       pids {', '.join(str(worker.pid) for worker in workers)}")
        try:
            await until_ready(server.url)
            with app.connected_to(server.url):
                await take_census(files)
                await show_a_retry()
                await app.aclose()
        finally:
            clean = await stop_workers(workers)
        pids = [server.pid, *(worker.pid for worker in workers)]
    left = [pid for pid in pids if is_alive(pid)]
    print(f"\nStopped: workers exited with {clean}; processes left behind: {len(left)}")
    return 1 if left or any(clean) else 0


def standard_library() -> list[Path]:
    """Return every Python file of the standard library on this machine."""
    files = sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py"))
    return [path for path in files if "site-packages" not in path.parts]


async def take_census(files: Sequence[Path]) -> None:
    """Enqueue a job for each file, follow them, and print what came out."""
    started = time.perf_counter()
    jobs = await count.enqueue_many([(path,) for path in files])
    enqueued = time.perf_counter() - started
    print(f"Enqueued          {len(jobs):,} jobs in {enqueued * 1000:.0f} ms\n")

    censuses: list[Census] = []
    failures: list[tuple[Job[Census], TaskFailed]] = []

    async def follow(job: Job[Census]) -> None:
        try:
            censuses.append(await job.result(timeout=300))
        except TaskFailed as error:
            failures.append((job, error))
        progress(len(censuses) + len(failures), len(jobs))

    await asyncio.gather(*(follow(job) for job in jobs))
    took = time.perf_counter() - started
    infos = await asyncio.gather(*(job.info() for job in jobs))
    print_totals(censuses, took, len(jobs))
    print_latencies(infos)
    if failures:
        names = dict(zip(jobs, files, strict=True))
        failures.sort(key=lambda failure: names[failure[0]].name)
        print_failure(*failures[0], len(failures), names)


async def show_a_retry() -> None:
    """Enqueue a job for a file that appears only after the first try."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "late.py"
        job = await count.enqueue(path)
        while (info := await job.info()).error is None:
            await asyncio.sleep(0.01)
        print(f"\nA retry: {path.name} was not there yet, so the job is in state {info.state}")
        print(f"  ({info.error.exc_type}) and due again at {info.due_at:%H:%M:%S.%f} UTC;")
        path.write_text("import this\n")
        print(f"  now it is there: {await job.result(timeout=30)}")
        print(f"  state {await job.status()} after {(await job.info()).retries} retry")


def print_totals(censuses: Sequence[Census], took: float, jobs: int) -> None:
    """Print the counts and the rate."""
    print("\n")
    for what in ("lines", "functions", "classes", "imports"):
        print(f"  {what:<12}{sum(getattr(census, what) for census in censuses):>12,}")
    print(f"  {'files':<12}{len(censuses):>12,}\n")
    print(f"  rate        {jobs / took:>12,.0f} jobs/s, enqueue to result, in {took:.1f} s")


def print_latencies(infos: Sequence[JobInfo]) -> None:
    """Print how long jobs waited and ran, by the server's clock."""
    waited = [between(info.enqueued_at, info.started_at) for info in infos]
    ran = [between(info.started_at, info.finished_at) for info in infos]
    print(f"  {'ms':<10}{'p50':>8}{'p90':>8}{'p99':>8}{'max':>8}")
    for name, values in (("waited", waited), ("ran", ran)):
        cuts = quantiles(values, n=100)
        row = (cuts[49], cuts[89], cuts[98], max(values))
        print(f"  {name:<10}" + "".join(f"{value:>8.0f}" for value in row))


def between(start: object, end: object) -> float:
    """Return the milliseconds between two moments of a JobInfo."""
    return (end - start).total_seconds() * 1000  # type: ignore[operator]


def print_failure(
    job: Job[Census], error: TaskFailed, failed: int, files: dict[Job[Census], Path]
) -> None:
    """Print one error as the caller gets it."""
    print(f"\nFailed: {failed} files do not parse, for example {files[job].name} (job {job.id}):")
    print(f"  raised here: {error!r}")
    print(f"  its cause is the original type again: {type(error.__cause__).__name__}")
    for line in error.traceback.strip().splitlines()[-5:]:
        print(f"  {line}")


def progress(done: int, total: int) -> None:
    """Draw the progress bar; in a log, only its end."""
    if sys.stdout.isatty() or done == total:
        filled = 40 * done // total
        bar = "#" * filled + "." * (40 - filled)
        print(f"\r  [{bar}] {done:,}/{total:,}", end="", flush=True)


async def start_worker(url: str) -> Process:
    """Start `aioq worker census:app` as a process of its own."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "aioq", "worker", "census:app", "--log-level", "error"),
        cwd=Path(__file__).parent,
        env={**os.environ, "AIOQ_URL": url},
        stderr=None if "-v" in sys.argv else asyncio.subprocess.DEVNULL,
    )


async def until_ready(url: str) -> None:
    """Ask `aioq check`, as a probe would, until a live worker answers for the queue."""
    probe = (sys.executable, "-m", "aioq", "check", "--queue", "default", "--url", url)
    silent = asyncio.subprocess.DEVNULL
    for _ in range(50):
        check = await asyncio.create_subprocess_exec(*probe, stdout=silent, stderr=silent)
        if await check.wait() == 0:
            return


async def stop_workers(workers: Sequence[Process]) -> list[int]:
    """Ask the workers to drain; return their exit codes."""
    for worker in workers:
        if worker.returncode is None:
            worker.send_signal(signal.SIGTERM)
    return [await worker.wait() for worker in workers]


def is_alive(pid: int) -> bool:
    """Tell whether a process exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
