"""Members that cannot succeed: whoever waits for them is told, under a number of Celery's.

celery 9107  a member that cannot succeed leaves the body waiting for ever
celery 3317  a member fails, and what was to run on an error does not
"""

from collections.abc import Callable
from typing import Any

import pytest

from aioq import JobState, TaskFailed, chain, chord, group
from aioq.tasks import Composable
from tests.broker.place import Place
from tests.eventually import eventually
from tests.faults.calculations import (
    PATIENCE,
    all_of,
    app,
    clean_up,
    deadly,
    failing,
    held,
    leaf,
    ledger,
    listed,
    members,
    plus,
    rejected,
    slow,
    total,
    workers,
)


@pytest.fixture(autouse=True)
async def nothing_has_run() -> None:
    ledger.reset()


HOPELESS: dict[str, tuple[Callable[[], Composable[int]], str]] = {
    "fails": (lambda: failing.s(1), "failing failed: ValueError: no 1"),
    "is out of time": (lambda: slow.s(1), "slow failed: aioq.core.errors.TimeLimitExceeded"),
    "is rejected": (lambda: rejected.s(1), "rejected failed: "),
    "dies": (lambda: deadly.s(1), "deadly failed: aioq.core.errors.WorkerLost"),
    "expires": (lambda: leaf.s(1).set(countdown=3600, expires=0.2), "leaf expired"),
    "does not fit": (lambda: total.s([None]), "total failed: "),
}
"""A member that cannot succeed, and what is said of it."""


@pytest.mark.parametrize("how", HOPELESS)
async def test_celery_9107_a_member_that_cannot_succeed_ends_the_chord_and_is_named(
    place: Place, how: str
) -> None:
    make, said = HOPELESS[how]
    async with workers(place):
        handle = await chord([leaf.s(1), make(), held.s(2)], listed.s()).enqueue()
        with pytest.raises(TaskFailed) as caught:  # at once, and the member that is held goes on
            await handle.result(timeout=PATIENCE)
        assert ledger.times("listed") == 0
        assert await handle.status() is JobState.FAILURE
        ledger.door.set()

        assert caught.value.exc_type == "aioq.core.errors.DependencyFailed"
        assert said in caught.value.exc_message
        named = caught.value.exc_message.split()[1]
        assert named in members(place, handle.id)


@pytest.mark.parametrize("moment", ["queued", "running"])
async def test_celery_9107_a_member_that_is_revoked_ends_the_chord_and_is_named(
    place: Place, moment: str
) -> None:
    queue = "nobody" if moment == "queued" else "default"
    async with workers(place):
        handle = await chord([leaf.s(1), held.s(2).set(queue=queue)], listed.s()).enqueue()
        (member,) = await all_of("held", place, handle.id)
        if moment == "running":
            await eventually(lambda: ledger.times("held"))
        assert await app.job(member).revoke()
        with pytest.raises(TaskFailed, match=f"job {member} of .*held was revoked"):
            await handle.result(timeout=PATIENCE)

    assert ledger.times("listed") == 0


async def test_celery_9107_a_chord_whose_dead_member_is_replayed_goes_on(place: Place) -> None:
    async with workers(place):
        handle = await chord([leaf.s(1), failing.s(2)], listed.s()).enqueue()
        with pytest.raises(TaskFailed):
            await handle.result(timeout=PATIENCE)
        (member,) = await all_of("failing", place, handle.id)
        ledger.door.set()
        assert await app.dead_letters.replay(member)

        assert await handle.result(timeout=PATIENCE) == [1, 2]
    assert ledger.times("listed") == 1


ON_ERROR: dict[str, Callable[[], Composable[Any]]] = {
    "the body": lambda: chord([leaf.s(1), failing.s(2)], total.s().on_error(clean_up.s())),
    "the chord": lambda: chord([leaf.s(1), failing.s(2)], total.s()).on_error(clean_up.s()),
    "the header": lambda: chord(group(leaf.s(1), failing.s(2)).on_error(clean_up.s()), total.s()),
    "the member": lambda: chord([leaf.s(1), failing.s(2).on_error(clean_up.s())], total.s()),
    "the end of a chain": lambda: chain(
        chord([leaf.s(1), failing.s(2)], total.s()), plus.s(1), plus.s(2).on_error(clean_up.s())
    ),
    "a chord around it": lambda: chord(
        [leaf.s(1), chord([leaf.s(1), failing.s(2)], total.s())], total.s()
    ).on_error(clean_up.s()),
    "a chord of several that fail": lambda: chord(
        [failing.s(2), failing.s(2), failing.s(2)], total.s()
    ).on_error(clean_up.s()),
}


@pytest.mark.parametrize("place_of_it", ON_ERROR)
async def test_celery_3317_a_member_that_fails_runs_on_error_once_with_its_error(
    place: Place, place_of_it: str
) -> None:
    async with workers(place) as worker:
        handle = await ON_ERROR[place_of_it]().enqueue()
        with pytest.raises(TaskFailed):
            await handle.result(timeout=PATIENCE)
        (cleanup,) = await all_of("clean_up", place, handle.id)
        said = await app.job(cleanup).result(timeout=PATIENCE)
        await worker.run_until_idle()

    assert "ValueError: no 2" in said
    assert ledger.times("clean_up") == 1
    assert ledger.times("total") == 0


async def test_celery_3317_nothing_runs_on_an_error_where_there_is_none(place: Place) -> None:
    async with workers(place) as worker:
        handle = await chord([leaf.s(1)], total.s()).on_error(clean_up.s()).enqueue()
        assert await handle.result(timeout=PATIENCE) == 1
        await worker.run_until_idle()

    assert ledger.times("clean_up") == 0
