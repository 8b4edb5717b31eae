"""Where Celery has `app.conf` there is one error, and it names the setting meant."""

from collections.abc import Callable

import pytest

from aioq import Aioq, ConfigurationError
from aioq.app.conf import NoConf
from aioq.core.options import OPTION_NAMES
from aioq.core.settings import SETTING_NAMES

USES: dict[str, Callable[[NoConf, str], object]] = {
    "read": getattr,
    "write": lambda conf, name: setattr(conf, name, 1),
    "item": lambda conf, name: conf[name],
    "set item": lambda conf, name: conf.__setitem__(name, 1),
    "update": lambda conf, name: conf.update({name: 1}),
    "update by keyword": lambda conf, name: conf.update(**{name: 1}),
}
MEANT = {
    "broker_url": r"Settings\(url=\.\.\.\)",
    "result_backend": r"Settings\(url=",
    "task_default_queue": r"Settings\(default_queue=",
    "worker_concurrency": r"Settings\(concurrency=",
    "timezone": r"Settings\(timezone=",
    "result_expires": r"Settings\(result_expires=",
    "task_routes": r"Settings\(task_routes=",
    "task_time_limit": r"task_annotations=\{\"\*\": \{'time_limit'",
    "beat_schedule": r"use app\.beat_schedule = ",
    "task_serializer": "nothing: values travel as MessagePack",
    "enable_utc": "nothing",
    "imports": r"Aioq\(include=",
    "task_compression": r"task_annotations=\{\"\*\": \{'compression'",
    "task_ignore_result": r"task_annotations=\{\"\*\": \{'ignore_result'",
    "no_such_setting": r"Settings\(\.\.\.\); its fields are .*lease",
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("name", MEANT)
def test_every_use_names_what_to_write_instead(use: str, name: str) -> None:
    conf = Aioq("redis://nowhere").conf
    with pytest.raises(ConfigurationError, match=rf"^app\.conf\.{name}: .*{MEANT[name]}"):
        USES[use](conf, name)


def test_what_is_so_by_itself_is_not_put_off_to_a_later_release() -> None:
    with pytest.raises(ConfigurationError, match="nothing: jobs are acknowledged late"):
        _ = NoConf().task_acks_late


@pytest.mark.parametrize("name", SETTING_NAMES)
def test_each_setting_is_named_by_itself(name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        getattr(NoConf(), name)


@pytest.mark.parametrize("name", OPTION_NAMES - {"name"})
def test_each_option_of_a_task_is_found_under_celerys_prefix(name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        getattr(NoConf(), f"task_{name}")


def test_an_app_is_given_no_conf() -> None:
    app = Aioq("redis://nowhere")
    with pytest.raises(ConfigurationError, match=r"^app\.conf\.conf"):
        app.conf = {"broker_url": "redis://x"}
    with pytest.raises(ConfigurationError, match=r"^app\.conf\.update"):
        app.conf.update()


def test_it_can_be_looked_at_like_any_object() -> None:
    assert repr(NoConf()).startswith("<aioq.app.conf.NoConf")
    assert not hasattr(NoConf(), "__wrapped__")
