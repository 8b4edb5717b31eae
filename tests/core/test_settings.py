"""Settings: argument over environment over pyproject.toml over default, for every field."""

from datetime import UTC
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from aioq.app import Aioq
from aioq.app.environment import from_environment, from_pyproject, why
from aioq.core import settings as core
from aioq.core.errors import ConfigurationError
from aioq.core.settings import SETTING_NAMES, Settings, environment_name

VALUES: dict[str, tuple[Any, Any, Any]] = {
    "app": ("a:app", "b:app", "c:app"),
    "url": ("redis://a", "redis://b", "redis://c"),
    "embedded": ("never", "auto", "never"),
    "default_queue": ("a", "b", "c"),
    "result_expires": (1.5, 2.0, 3.0),
    "timezone": ("Europe/Paris", "UTC", "Asia/Tokyo"),
    "max_payload": (1, 2, 3),
    "compression_threshold": (0, 2, 3),
    "enqueue_timeout": (0.5, 2.0, 3.0),
    "startup_timeout": (1.0, 2.0, 3.0),
    "allow_eviction": (True, False, True),
    "events": (False, True, False),
    "concurrency": (1, 2, 3),
    "queues": (("a", "b"), ("c",), ("d", "e")),
    "threads": (1, 2, 3),
    "process_workers": (1, 2, 3),
    "lease": (1.0, 2.0, 3.0),
    "grace": (0.0, 2.0, 3.0),
    "processes": (1, 2, 3),
    "max_jobs": (1, 2, 3),
    "max_memory": (1, 2, 3),
    "max_lifetime": (1.0, 2.0, 3.0),
    "unknown_task_patience": (1.0, 2.0, 3.0),
    "task_annotations": ({"*": {"priority": 1}}, {"a": {"priority": 2}}, {}),
    "task_routes": ({"a.*": "q"}, {"b": {"queue": "q", "priority": 2}}, {"c": "q"}),
    "log_level": ("debug", "warning", "error"),
    "log_format": ("json", "console", "json"),
}
"""Three values of each field: for the argument, the environment and pyproject.toml."""
DEFAULTS = {name: getattr(Settings(), name) for name in SETTING_NAMES}


def as_text(value: object) -> str:
    """Write a value as an environment variable has it."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))  # pyright: ignore[reportUnknownArgumentType]
    return msgspec.json.encode(value).decode() if isinstance(value, dict) else str(value)


def as_toml(value: object) -> str:
    if isinstance(value, dict):
        items = cast("dict[str, object]", value)
        return "{" + ", ".join(f'"{name}" = {as_toml(each)}' for name, each in items.items()) + "}"
    return msgspec.json.encode(value).decode()


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in a project of the test's own, with an environment that says nothing."""
    monkeypatch.chdir(tmp_path)
    for name in SETTING_NAMES:
        monkeypatch.delenv(environment_name(name), raising=False)
    (tmp_path / "pyproject.toml").touch()
    return tmp_path


def write_pyproject(folder: Path, **values: object) -> None:
    lines = [f"{name} = {as_toml(value)}" for name, value in values.items()]
    (folder / "pyproject.toml").write_text("[tool.aioq]\n" + "\n".join(lines))


def settled(name: str, **given: Any) -> object:  # noqa: ANN401 - any field
    return getattr(Aioq(settings=Settings(**given)).settings, name)


def test_there_is_a_value_here_for_every_field() -> None:
    assert set(VALUES) == set(SETTING_NAMES)


@pytest.mark.parametrize("name", VALUES)
def test_each_source_wins_over_those_below_it(
    name: str, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    argument, environment, pyproject = VALUES[name]
    assert settled(name) == DEFAULTS[name]
    write_pyproject(elsewhere, **{name: pyproject})
    assert settled(name) == pyproject
    monkeypatch.setenv(environment_name(name), as_text(environment))
    assert settled(name) == environment
    assert settled(name, **{name: argument}) == argument


@pytest.mark.parametrize("name", set(VALUES) - {"url", "app", "timezone", "queues"})
def test_a_default_that_is_given_is_given(
    name: str, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pyproject(elsewhere, **{name: VALUES[name][2]})
    monkeypatch.setenv(environment_name(name), as_text(VALUES[name][1]))
    assert settled(name, **{name: DEFAULTS[name]}) == DEFAULTS[name]


@pytest.mark.parametrize("name", [name for name, value in DEFAULTS.items() if value is None])
def test_none_may_be_said_in_every_way_but_toml(
    name: str, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pyproject(elsewhere, **{name: VALUES[name][2]})
    monkeypatch.setenv(environment_name(name), "none")
    assert settled(name) is None
    monkeypatch.setenv(environment_name(name), as_text(VALUES[name][1]))
    assert settled(name, **{name: None}) is None


def test_the_default_of_the_environment_wins_over_pyproject(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pyproject(elsewhere, concurrency=7)
    monkeypatch.setenv("AIOQ_CONCURRENCY", str(DEFAULTS["concurrency"]))
    assert settled("concurrency") == DEFAULTS["concurrency"]


def test_the_url_has_the_same_order(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pyproject(elsewhere, url="redis://pyproject")
    assert Aioq().server.url == "redis://pyproject"
    monkeypatch.setenv("AIOQ_URL", "redis://environment")
    app = Aioq()
    assert (app.server.url, app.server.reason) == ("redis://environment", "from AIOQ_URL")
    app = Aioq("redis://argument")
    assert (app.server.url, app.server.reason) == ("redis://argument", "given to Aioq(...)")
    app = Aioq("redis://argument")
    app.override(url="redis://flag")
    assert app.server.url == "redis://flag"


def test_a_flag_wins_over_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIOQ_CONCURRENCY", "2")
    app = Aioq(settings=Settings(concurrency=3))
    app.override(concurrency=4)
    assert app.settings.concurrency == 4


def test_a_url_that_is_given_twice_is_one_error() -> None:
    with pytest.raises(ConfigurationError, match="the URL is given twice: 'redis://a'"):
        Aioq("redis://a", settings=Settings(url="redis://b"))


def test_where_a_value_came_from_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIOQ_URL", "redis://x")
    assert why("url", {"url": "redis://y"}) == "given to Aioq(...)"
    assert why("url", {}) == "from AIOQ_URL"
    monkeypatch.delenv("AIOQ_URL")
    assert why("url", {}) == "from pyproject.toml"


WRONG = [
    ("lease", 0.5, "0.5", ">= 1"),
    ("lease", 3601, "3601", "<= 3600"),
    ("concurrency", 0, "0", ">= 1"),
    ("concurrency", 100_001, "100001", "<= 100000"),
    ("max_payload", 0, "0", ">= 1"),
    ("enqueue_timeout", 61, "61", "<= 60"),
    ("result_expires", -1, "-1", ">= 0"),
    ("embedded", "sometimes", "sometimes", "Invalid enum value"),
    ("log_level", "loud", "loud", "Invalid enum value"),
    ("default_queue", "a b", "a b", "matching regex"),
    ("queues", ["a", "b c"], "a,b c", "matching regex"),
    ("queues", {"a": 0, "b": 1}, "a:0,b:1", ">= 1"),
    ("queues", {"a": 1001}, "a:1001", "<= 1000"),
    ("queues", {"a b": 1}, "a b:1", "matching regex"),
]


@pytest.mark.parametrize(("name", "value", "text", "said"), WRONG)
def test_a_wrong_value_is_named_with_its_field_its_value_its_range_and_its_source(
    name: str, value: object, text: str, said: str, elsewhere: Path
) -> None:
    with pytest.raises(ConfigurationError, match=rf"^Settings: {name}=.* is wrong: .*{said}"):
        Settings(**{name: value})  # pyright: ignore[reportArgumentType]
    with pytest.raises(
        ConfigurationError,
        match=rf"^environment: {environment_name(name)}='{text}' is wrong: .*{said}",
    ):
        from_environment({environment_name(name): text})
    write_pyproject(elsewhere, **{name: value})
    with pytest.raises(
        ConfigurationError, match=rf"pyproject\.toml \[tool\.aioq\]: {name}=.* is wrong: .*{said}"
    ):
        from_pyproject(elsewhere)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("concurrency", "many", "Expected `int`"),
        ("concurrency", "", "Expected `int`"),
        ("concurrency", "none", "Expected `int`, got `null`"),
        ("lease", "1s", "Expected `float`"),
        ("task_routes", "a=b", "Expected `object`"),
        ("task_annotations", "[]", "Expected `object`"),
    ],
)
def test_text_that_is_no_value_is_named(name: str, text: str, said: str) -> None:
    variable = environment_name(name)
    with pytest.raises(
        ConfigurationError, match=rf"^environment: {variable}='.*' is wrong: {said}"
    ):
        from_environment({variable: text})


@pytest.mark.parametrize("name", ["result_expires", "grace", "unknown_task_patience", "lease"])
@pytest.mark.parametrize("value", [float("inf"), float("nan"), 1e300])
def test_a_duration_that_is_no_number_is_refused_here_and_not_when_a_job_ends(
    name: str, value: float
) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}="):
        Settings(**{name: value})  # pyright: ignore[reportArgumentType]


def test_an_unknown_field_is_named_with_what_may_have_been_meant(elsewhere: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"^Settings: unknown field 'leese'; did you mean 'lease'\?"
    ):
        Settings(leese=3)  # pyright: ignore[reportCallIssue]
    write_pyproject(elsewhere, concurency=3)
    with pytest.raises(
        ConfigurationError,
        match=r"pyproject\.toml \[tool\.aioq\]: unknown field 'concurency'; did you mean 'concur",
    ):
        Aioq()


def test_what_is_given_cannot_be_given() -> None:
    with pytest.raises(ConfigurationError, match="unknown field 'given'"):
        core.parse({"given": []}, where="here")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"task_annotations": {"*": {"max_retrys": 1}}}, r"\['\*'\]: unknown option 'max_retrys'"),
        ({"task_annotations": {"a": {"rate_limit": "x"}}}, r"\['a'\]: rate_limit='x' is wrong"),
        ({"task_annotations": {"a": {"priority": 10}}}, r"\['a'\]: priority=10 is wrong"),
        ({"task_routes": {"a": {"ques": "q"}}}, r"\['a'\]: unknown key 'ques'; did you mean"),
        ({"task_routes": {"a": {"priority": 10}}}, r"\['a'\]: priority=10 is wrong"),
        ({"task_routes": {"a": "b c"}}, r"\['a'\]: queue='b c' is wrong"),
        ({"timezone": "Europe/Atlantis"}, r"timezone='Europe/Atlantis' is unknown; give an IANA"),
        ({"timezone": "../../etc/passwd"}, r"timezone='../../etc/passwd' is unknown"),
    ],
)
def test_what_types_cannot_say_is_checked_too(table: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Settings(**table)


@pytest.mark.parametrize("text", ["[tool]\naioq = 3", "tool = 3", "[tool]\naioq = [1]"])
def test_a_table_of_pyproject_that_is_none_is_one_clear_error(elsewhere: Path, text: str) -> None:
    (elsewhere / "pyproject.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=r"pyproject\.toml"):
        from_pyproject(elsewhere)


@pytest.mark.parametrize("content", [b"[tool", b"\xff\xfe"])
def test_a_pyproject_that_cannot_be_read_is_one_clear_error(
    elsewhere: Path, content: bytes
) -> None:
    (elsewhere / "pyproject.toml").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"pyproject\.toml cannot be read"):
        Aioq()


def test_the_pyproject_of_the_project_is_found_from_a_folder_inside(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pyproject(elsewhere, concurrency=7)
    inside = elsewhere / "src" / "pkg"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    assert Aioq().settings.concurrency == 7


def test_a_timezone_is_an_object_where_it_is_used() -> None:
    assert Settings().zone is None
    assert Settings(timezone="UTC").zone is UTC
    assert str(Settings(timezone="Europe/Paris").zone) == "Europe/Paris"


def test_settings_do_not_change() -> None:
    with pytest.raises(AttributeError):
        Settings().lease = 3  # pyright: ignore[reportAttributeAccessIssue]


def test_values_have_the_types_of_their_fields_however_they_were_given() -> None:
    assert settled("queues", queues=["a", "b"]) == ("a", "b")


def test_queues_may_have_weights_wherever_they_are_given(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pyproject(elsewhere, queues={"a": 3, "b": 1})
    assert settled("queues") == {"a": 3, "b": 1}
    monkeypatch.setenv("AIOQ_QUEUES", " b:2, a:1 ")
    assert settled("queues") == {"b": 2, "a": 1}
    assert list(cast("dict[str, int]", settled("queues"))) == ["b", "a"]
    assert settled("queues", queues={"c": 9}) == {"c": 9}


@pytest.mark.parametrize("text", ["a:3,b", "a:3,a:1"])
def test_each_queue_has_one_weight_or_none_has_any(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIOQ_QUEUES", text)
    with pytest.raises(ConfigurationError, match=f"AIOQ_QUEUES='{text}' is wrong: give each queue"):
        Aioq()
