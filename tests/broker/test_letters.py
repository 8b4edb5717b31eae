"""letters.lua: read dead letters, the newest first, a page per call."""

from collections.abc import Iterator
from typing import Any

import pytest

from aioq.broker import letters as stubs
from aioq.broker.letters import Letter, Letters
from tests.broker.calls import DEAD_MS, deliver, fetch, outcome, settle
from tests.broker.clock import Clock
from tests.broker.place import START, Place, new_job

pytestmark = pytest.mark.broker

MEGABYTE = 1048576


def letters(
    place: Place,
    after: str = "",
    *,
    since: int | str = "",
    task: str = "",
    queue: str = "",
    full: bool = True,
    most: int = 250,
) -> Letters:
    call = stubs.letters(
        place.prefix, after=after, since=since, task=task, queue=queue, full=full, most=most
    )
    return place.run(call)


def names(page: Letters) -> list[str]:
    return [letter.job_id.decode() for letter in page.letters]


def pages(place: Place, **given: Any) -> Iterator[list[str]]:  # noqa: ANN401 - see `letters`
    """Read page after page."""
    page = letters(place, **given)
    yield names(page)
    while page.after:
        page = letters(place, page.after, **given)
        yield names(page)


def bury(place: Place, *job_ids: str, lane: str = "default:5", task: str = "add") -> None:
    """Make dead letters that died in the same moment."""
    deliveries = deliver(place, *(new_job(each, lane=lane, task=task) for each in job_ids))
    settle(place, *(outcome(each, "f", "", b"boom") for each in deliveries))


def test_a_letter_has_all_that_is_known_of_it(place: Place, clock: Clock) -> None:
    [first] = deliver(place, new_job("a", lane="mail:7", task="send"))
    settle(place, outcome(first, "r", "+0", b"oops"))
    place.lease("w2", "w3")
    [second] = fetch(place, worker="w2", lanes=["mail:7"]).deliveries
    clock.advance(500)
    settle(place, outcome(second, "l", "", b"died"))
    [third] = fetch(place, worker="w3", lanes=["mail:7"]).deliveries
    settle(place, outcome(third, "f", "", b"boom"))
    assert letters(place) == Letters(
        "",
        [
            Letter(
                job_id=b"a",
                died=str(START + 500).encode(),
                task=b"send",
                lane=b"mail:7",
                retries=b"1",
                crashes=b"1",
                worker=b"w3",
                payload=b"<a>",
                error=b"boom",
            )
        ],
    )


def test_a_job_that_never_was_retried_in_the_common_lane_has_its_lane_too(
    place: Place, clock: Clock
) -> None:
    bury(place, "a")
    [letter] = letters(place).letters
    assert (letter.lane, letter.retries, letter.crashes) == (b"default:5", None, None)


@pytest.mark.parametrize("error", [b"b" * 64, b"b" * 65, b"b" * 9999])
def test_the_error_is_found_wherever_it_lies(place: Place, clock: Clock, error: bytes) -> None:
    [delivery] = deliver(place, new_job("a"))
    settle(place, outcome(delivery, "f", "", error))
    assert letters(place).letters[0].error == error


def test_payload_and_error_are_left_out_where_only_ids_are_wanted(
    place: Place, clock: Clock
) -> None:
    bury(place, "a")
    [letter] = letters(place, full=False).letters
    assert (letter.job_id, letter.payload, letter.error) == (b"a", None, None)


def test_the_newest_comes_first(place: Place, clock: Clock) -> None:
    for job_id in "bca":
        bury(place, job_id)
        clock.advance(1)
    assert names(letters(place)) == ["a", "c", "b"]


@pytest.mark.parametrize("most", [1, 2, 3, 7, 100])
def test_page_by_page_each_is_read_once(place: Place, clock: Clock, most: int) -> None:
    for round_ in range(3):
        bury(place, *(f"{round_}{each}" for each in "abcd"))
        clock.advance(round_)  # the first two rounds died in one moment
    found = list(pages(place, most=most))
    assert [each for page in found for each in page] == [
        *("2d", "2c", "2b", "2a"),
        *("1d", "1c", "1b", "1a"),
        *("0d", "0c", "0b", "0a"),
    ]
    assert all(len(page) <= most for page in found)


@pytest.mark.parametrize("most", range(1, 11))
def test_letters_of_one_moment_are_told_apart_by_their_bytes(
    place: Place, clock: Clock, most: int
) -> None:
    """Not as a language sorts them: a page would begin at the wrong letter."""
    ids = ["B", "_", "a", "Ä", "ä", "ab", "~", "1", " x", "-", "C", "b"]
    bury(place, *ids)
    page = letters(place, most=most)
    found = names(page)
    while page.after:
        place.run(stubs.discard(place.prefix, nonce="n", job_ids=names(page)))
        page = letters(place, page.after, most=most)
        found += names(page)
    assert found == sorted(ids, key=str.encode, reverse=True)


def test_letters_that_come_and_go_do_not_move_the_others(place: Place, clock: Clock) -> None:
    bury(place, "a", "b", "c", "d", "e", "f")
    first = letters(place, most=3)
    clock.advance(1)
    bury(place, "new")
    place.run(stubs.replay(place.prefix, nonce="n", job_ids=["d", "e", "c"]))
    assert names(first) == ["f", "e", "d"]
    assert names(letters(place, first.after)) == ["b", "a"]
    assert names(letters(place)) == ["new", "f", "b", "a"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"task": "send"}, ["c", "b"]),
        ({"queue": "mail"}, ["d", "c"]),
        ({"queue": "mail", "task": "send"}, ["c"]),
        ({"queue": "default"}, ["b", "a"]),
        ({"task": "nobody's"}, []),
        ({"queue": "mai"}, []),
        ({"since": START}, ["d", "c", "b", "a"]),
        ({"since": START + 1}, ["d", "c", "b"]),
        ({"since": START + 4}, []),
    ],
)
def test_letters_are_chosen(
    place: Place, clock: Clock, given: dict[str, Any], expected: list[str]
) -> None:
    for job_id, lane, task in (
        ("a", "default:5", "add"),
        ("b", "default:5", "send"),
        ("c", "mail:5", "send"),
        ("d", "mail:0", "add"),
    ):
        bury(place, job_id, lane=lane, task=task)
        clock.advance(1)
    for most in (1, 2, 250):
        assert [each for page in pages(place, most=most, **given) for each in page] == expected


def test_what_is_no_letter_any_more_is_left_out(place: Place, clock: Clock) -> None:
    """Its record has expired, or it was replayed; its place in the index may be there still."""
    place.is_sound = False
    bury(place, "a", "b", "c")
    place.admin("DEL", f"{place.prefix}j:b")
    place.admin("ZADD", f"{place.prefix}x", START + 1, "unknown")
    deliver(place, new_job("alive"))
    place.admin("ZADD", f"{place.prefix}x", START + 2, "alive")
    assert names(letters(place)) == ["c", "a"]


def test_a_page_ends_when_it_has_grown_large(place: Place, clock: Clock) -> None:
    large = b"x" * (MEGABYTE // 2 - 100)
    deliveries = deliver(place, *(new_job(each, payload=large) for each in "abcde"))
    settle(place, *(outcome(each, "f", "", b"boom") for each in deliveries))
    assert list(pages(place)) == [["e", "d", "c"], ["b", "a"]]
    assert list(pages(place, full=False)) == [["e", "d", "c", "b", "a"]]


def test_no_letters(place: Place, clock: Clock) -> None:
    assert letters(place) == Letters("", [])
    assert letters(place, f"{START} a") == Letters("", [])


def test_reading_changes_nothing(place: Place, clock: Clock) -> None:
    bury(place, "a", "b")
    before = place.dump()
    list(pages(place, most=1))
    assert place.dump() == before


def test_letters_that_are_too_many_are_gone(place: Place, clock: Clock) -> None:
    deliveries = deliver(place, new_job("a"), new_job("b"))
    settle(place, outcome(deliveries[0], "f", "", b"boom"))
    clock.advance(1)
    settle(place, outcome(deliveries[1], "f", "", b"boom"), dead_ms=DEAD_MS, dead_max=1)
    assert names(letters(place)) == ["b"]
