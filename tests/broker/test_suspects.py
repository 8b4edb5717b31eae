"""Jobs whose worker dies: the guilty one is found and buried, its neighbours go free."""

import pytest

from aioq.broker import inspect, scripts
from aioq.broker.scripts import Delivery, Fetched, Limit, Update
from aioq.core import codec
from aioq.core.record import JobState
from tests.broker.calls import (
    DEAD_MS,
    crash,
    deliver,
    enqueue,
    fetch,
    outcome,
    reap,
    register,
    settle,
)
from tests.broker.clock import Clock
from tests.broker.place import CURRENT, START, Place, new_job, record, without

pytestmark = pytest.mark.broker

LANES = ["default:z", "mail:z", "default:9", "mail:5", "default:5"]
WORKERS = ("t", "lw", "w:w1")


def take(place: Place, worker: str = "w1", *, room: int = 250) -> list[Delivery]:
    """Fetch as a worker that has no suspect does: the suspects first."""
    place.lease(worker)
    return fetch(place, worker=worker, lanes=LANES, room=room).deliveries


def die(place: Place, clock: Clock, times: int) -> None:
    """Let the worker of all that is there die, again and again, whenever it is due again."""
    for _ in range(times):
        clock.advance(30_000)
        take(place)
        reap(place, "w1")


def names(fetched: list[Delivery] | Fetched) -> list[str]:
    deliveries = fetched.deliveries if isinstance(fetched, Fetched) else fetched
    return [each.job_id.decode() for each in deliveries]


def test_the_first_crash_proves_nothing_and_the_job_runs_again_at_once(
    place: Place, clock: Clock
) -> None:
    crash(place, new_job("a"))
    assert place.dump()["j:a"] == record("queued", token=CURRENT, ended=1, crashes=1)
    [again] = deliver(place, worker="w2")
    assert (again.job_id, again.retries, again.deliveries, again.due_ms) == (b"a", 0, 2, 0)


def test_after_the_second_the_job_is_a_suspect_and_waits_for_four_seconds(
    place: Place, clock: Clock
) -> None:
    crash(place, new_job("a", lane="mail:5"), times=2)
    token = place.dump()["j:a"]["token"]
    assert without(place.dump(), *WORKERS) == {
        "j:a": record("delayed", lane="mail:5", token=token, ended=2, crashes=2, due=START + 4000),
        "y:a": b"<a>",
        "d": {"a": START + 4000},
        "b:mail": 1,
    }
    clock.advance(3999)
    assert take(place) == []
    clock.advance(1)
    place.lease("w1")
    assert fetch(place, room=0).deliveries == []
    dump = place.dump()
    assert dump["j:a"]["state"] == "queued"
    assert dump["s:mail:z"] == [("a", b"<a>", None)]
    assert (dump["l"], dump["b:mail"]) == ({"mail:z"}, 1)
    [delivery] = take(place)
    assert (delivery.job_id, LANES[delivery.lane], delivery.deliveries) == (b"a", "mail:z", 3)
    assert settle(place, outcome(delivery, "c", 0)) == "K"


def test_the_pause_doubles_and_ends_at_thirty_seconds(place: Place, clock: Clock) -> None:
    register(place, limits=[Limit("add", "inf")])
    crash(place, new_job("a"))
    pauses: list[int] = []
    for _ in range(8):
        take(place)
        reap(place, "w1")
        pauses.append(place.dump()["j:a"]["due"] - clock.now_ms)
        clock.advance(pauses[-1])
    assert pauses == [4000, 8000, 16_000, 30_000, 30_000, 30_000, 30_000, 30_000]


def test_one_suspect_is_handed_out_per_fetch_whatever_the_room_and_the_queues(
    place: Place, clock: Clock
) -> None:
    crash(place, new_job("a"), new_job("b"), new_job("c", lane="mail:5"), times=2)
    enqueue(place, new_job("plain"))
    clock.advance(4000)
    assert names(take(place)) == ["a", "plain"]
    assert place.bells() > 0, "another worker may take the next one"
    assert names(take(place, "w2")) == ["b"]
    assert names(take(place, "w3")) == ["c"]


def test_a_worker_that_has_a_suspect_asks_for_no_second_and_leaves_the_others_their_tokens(
    place: Place, clock: Clock
) -> None:
    """Otherwise an idle worker would not hear of them."""
    crash(place, new_job("a"), new_job("b"), times=2)
    clock.advance(4000)
    assert names(take(place)) == ["a"]
    place.admin("DEL", place.keys.bell("default"))
    place.run(scripts.ring(place.prefix, queue="default"))
    assert fetch(place, lanes=["default:9", "default:5"]).deliveries == []
    assert place.bells() == 1
    assert names(take(place, "w2")) == ["b"]
    assert take(place, "w3") == []
    assert place.bells() == 0


def test_a_suspect_that_becomes_due_in_the_fetch_of_one_that_wants_none_wakes_another(
    place: Place, clock: Clock
) -> None:
    crash(place, new_job("a"), times=2)
    place.admin("DEL", place.keys.bell("default"))
    clock.advance(4000)
    place.lease("w1")
    assert fetch(place, lanes=["default:9", "default:5"]).deliveries == []
    assert place.bells() == 1


def test_a_suspect_that_has_expired_ends_and_the_next_one_is_handed_out(
    place: Place, clock: Clock
) -> None:
    crash(place, new_job("a", expires="+5000"), new_job("b"), times=2)
    clock.advance(4000)
    place.lease("w1")
    fetch(place, room=0)  # both are promoted
    clock.advance(1000)
    assert names(take(place)) == ["b"]
    assert place.dump()["j:a"]["state"] == "revoked"


def test_after_as_many_crashes_as_its_task_may_have_a_job_is_a_dead_letter(
    place: Place, clock: Clock
) -> None:
    enqueue(place, new_job("a"), new_job("b"))
    crash(place, times=2)
    clock.advance(4000)
    assert names(take(place, room=1)) == ["a"]
    clock.advance(70)
    place.run(scripts.wait(place.prefix, client="c1", job_ids=["a"]))
    reap(place, "w1")
    dump = place.dump()
    assert dump["x"] == {"a": START + 4070}
    assert dump["y:a"] == b"<a>"
    assert dump["j:a"] == record(
        "failed", worker="w1", ended=2, crashes=3, started=4000, finished=4070, due=START + 4000
    )
    assert {name for name, ms in place.expiring().items() if ms > DEAD_MS - 9000} == {
        "j:a",
        "y:a",
        "v:a",
    }
    assert dump["j:b"]["state"] == "queued"


def test_the_error_of_such_a_letter_says_what_happened(place: Place, clock: Clock) -> None:
    crash(place, new_job("a"), times=2)
    die(place, clock, 1)
    looked = place.run(scripts.look(place.prefix, job_id="a"))
    assert looked.value is not None
    error = codec.decode_error(looked.value)
    assert error.exc_type == "aioq.core.errors.WorkerLost"
    assert error.exc_message == (
        "the worker w1 died while it ran the job (death 3 of max_crashes=3)"
    )
    failure = codec.failure(looked.value)
    assert "WorkerLost: the worker w1 died" in str(failure)
    info = inspect.info_of("a", looked)
    assert (info.state, info.crashes, info.deliveries) == (JobState.FAILURE, 3, 3)
    assert (info.worker, info.error) == ("w1", error)


@pytest.mark.parametrize(("limit", "deaths"), [("0", 1), ("1", 1), ("2", 2), ("5", 5), ("", 3)])
def test_each_task_has_its_own_limit_whoever_reaps(
    place: Place, clock: Clock, limit: str, deaths: int
) -> None:
    register(place, "w9", limits=[Limit("add", limit), Limit("other", "7")])
    enqueue(place, new_job("a"))
    die(place, clock, deaths - 1)
    assert place.dump()["j:a"]["state"] in {"queued", "delayed"}
    die(place, clock, 1)
    assert place.dump()["j:a"]["state"] == "failed"


def test_a_job_that_runs_at_most_once_says_so(place: Place, clock: Clock) -> None:
    register(place, "w9", limits=[Limit("add", "0")])
    crash(place, new_job("a"))
    value = place.run(scripts.look(place.prefix, job_id="a")).value
    assert value is not None
    assert codec.decode_error(value).exc_message == (
        "the worker w1 died while it ran the job; with acks_late=False a job is run at most once"
    )


def test_a_job_without_a_limit_is_never_buried(place: Place, clock: Clock) -> None:
    register(place, "w9", limits=[Limit("add", "inf")])
    enqueue(place, new_job("a"))
    die(place, clock, 12)
    assert place.dump()["j:a"] | {"due": 0} == record(
        "delayed", token=place.token("a").decode(), ended=12, crashes=12, due=0
    )


def test_the_guilty_is_found_and_its_neighbours_go_free(place: Place, clock: Clock) -> None:
    """A worker dies whenever it runs `bad`, and takes with it whatever else it runs."""
    jobs = ["bad", *(f"good-{n}" for n in range(5))]
    enqueue(place, *(new_job(name) for name in jobs))
    for _ in range(40):
        taken = take(place, room=3)
        if "bad" in names(taken):
            reap(place, "w1")
        else:
            settle(place, *(outcome(each, "c", 0) for each in taken))
        clock.advance(5000)
    states = {name: place.dump()[f"j:{name}"]["state"] for name in jobs}
    assert states == {"bad": "failed"} | dict.fromkeys(jobs[1:], "completed")


def test_a_run_that_ends_in_an_error_of_the_task_clears_the_suspicion(
    place: Place, clock: Clock
) -> None:
    crash(place, new_job("a"), times=2)
    clock.advance(4000)
    [delivery] = take(place)
    assert settle(place, outcome(delivery, "r", "+0", b"boom")) == "K"
    clock.advance(1)
    [again] = take(place)
    assert LANES[again.lane] == "default:5"
    assert "crashes" not in place.dump()["j:a"]
    reap(place, "w1")
    assert place.dump()["j:a"]["crashes"] == 1
    assert place.dump()["j:a"]["state"] == "queued"


def test_a_late_word_about_a_suspect_cannot_be_taken_for_one_about_its_next_delivery(
    place: Place, clock: Clock
) -> None:
    """Its next entry is in another lane, and an id of the same millisecond is no accident there."""
    crash(place, new_job("a"), times=2)
    clock.advance(4000)
    [suspect] = take(place)
    settle(place, outcome(suspect, "r", "+0", b"boom"))
    take(place)
    assert settle(place, outcome(suspect, "r", "+0", b"boom")) in {"D", "S"}
    clock.advance(1)
    [again] = take(place)
    assert again.entry_id != suspect.entry_id
    assert settle(place, outcome(suspect, "c", 0)) == "S"


@pytest.mark.parametrize(("op", "argument"), [("n", "+0"), ("n", "+9000"), ("u", 60_000)])
def test_giving_back_proves_nothing(
    place: Place, clock: Clock, op: str, argument: str | int
) -> None:
    crash(place, new_job("a"), times=2)
    clock.advance(4000)
    [delivery] = take(place)
    settle(place, outcome(delivery, op, argument))
    clock.advance(9000)
    [again] = take(place)
    assert (LANES[again.lane], place.dump()["j:a"]["crashes"]) == ("default:z", 2)


def test_leaving_counts_nothing_against_a_suspect(place: Place, clock: Clock) -> None:
    crash(place, new_job("a"), times=2)
    clock.advance(4000)
    take(place)
    reap(place, "w1", is_crash=False)
    dump = place.dump()
    assert (dump["j:a"]["crashes"], dump["j:a"]["state"]) == (2, "queued")
    assert dump["s:default:z"] == [("a", b"<a>", None)]


def test_a_suspect_that_waits_inside_the_worker_is_not_guilty_of_its_death(
    place: Place, clock: Clock
) -> None:
    crash(place, new_job("a"), times=2)
    clock.advance(4000)
    [delivery] = take(place)
    noted = Update(delivery.job_id, delivery.entry_id, "v", b"")
    place.run(scripts.update(place.prefix, count=1, updates=[noted]))
    reap(place, "w1")
    assert place.dump()["j:a"] == record(
        "queued", token=CURRENT, ended=3, crashes=2, due=START + 4000
    )


def test_the_death_of_a_child_process_is_a_crash_too_while_its_worker_lives(
    place: Place, clock: Clock
) -> None:
    [first] = deliver(place, new_job("a"))
    assert settle(place, outcome(first, "l", "", b"lost")) == "K"
    assert place.dump()["j:a"] == record("queued", token=CURRENT, ended=1, crashes=1)
    [second] = deliver(place)
    assert settle(place, outcome(second, "l", "", b"lost")) == "K"
    assert settle(place, outcome(second, "l", "", b"lost")) == "D"
    assert place.dump()["j:a"]["due"] == START + 4000
    clock.advance(4000)
    [third] = take(place)
    settle(place, outcome(third, "l", "", b"lost"))
    dump = place.dump()
    assert (dump["j:a"]["state"], dump["j:a"]["value"]) == ("failed", b"lost")
    assert (dump["x"], dump["y:a"]) == ({"a": START + 4000}, b"<a>")


def test_a_suspect_shows_its_payload_wherever_it_is(place: Place, clock: Clock) -> None:
    crash(place, new_job("a"), times=2)

    def payload() -> bytes | None:
        return place.run(scripts.look(place.prefix, job_id="a")).payload

    assert payload() == b"<a>"
    clock.advance(4000)
    place.lease("w1")
    fetch(place, room=0)
    assert payload() == b"<a>"
    take(place)
    assert payload() == b"<a>"


def test_letters_of_crashes_are_capped_like_the_others(place: Place, clock: Clock) -> None:
    register(place, "w9", limits=[Limit("add", "0")])
    for name in "abcd":
        deliver(place, new_job(name))
        reap(place, "w1", dead_max=2)
        clock.advance(1)
    dump = place.dump()
    assert set(dump["x"]) == {"c", "d"}
    assert {name for name in dump if name.startswith(("y:", "v:"))} == {"y:c", "v:c", "y:d", "v:d"}
