"""What stands where Celery has `app.conf`: one clear error that names the setting meant."""

from typing import Any, NoReturn

from aioq.core.errors import ConfigurationError
from aioq.core.options import OPTION_NAMES
from aioq.core.settings import SETTING_NAMES

_CELERY = {
    "beat_schedule": "app.beat_schedule = {...}",
    "broker_connection_retry_on_startup": "Settings(startup_timeout=None)",
    "broker_url": "Settings(url=...)",
    "enable_utc": "nothing: moments are always aware",
    "include": "Aioq(include=[...])",
    "imports": "Aioq(include=[...])",
    "result_backend": "Settings(url=...): results live beside the jobs",
    "result_serializer": "nothing: values travel as MessagePack",
    "accept_content": "nothing: values travel as MessagePack",
    "task_acks_late": "nothing: jobs are acknowledged late",
    "task_default_queue": "Settings(default_queue=...)",
    "task_reject_on_worker_lost": "nothing: jobs of a lost worker run elsewhere",
    "task_serializer": "nothing: values travel as MessagePack",
    "task_track_started": "nothing: STARTED is always known",
    "worker_concurrency": "Settings(concurrency=...)",
    "worker_prefetch_multiplier": "nothing: a worker takes what it can run",
}


class NoConf:
    """Raises on every use."""

    @staticmethod
    def explanation(name: str) -> str:
        """Say what to write in place of Celery's setting."""
        bare = name.removeprefix("task_")
        if name in _CELERY:
            instead = _CELERY[name]
        elif name in SETTING_NAMES:
            instead = f"Settings({name}=...)"
        elif bare in OPTION_NAMES:
            instead = f'Settings(task_annotations={{"*": {{{bare!r}: ...}}}})'
        else:
            instead = "Settings(...); its fields are " + ", ".join(sorted(SETTING_NAMES))
        return f"app.conf.{name}: an app has no conf, it is given its settings once; use {instead}"

    def update(self, *tables: Any, **values: Any) -> NoReturn:  # noqa: ANN401 - as Celery's
        """Refuse, naming the first setting."""
        names = [name for table in tables for name in table] + list(values)
        raise ConfigurationError(self.explanation(names[0] if names else "update"))

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise ConfigurationError(self.explanation(name))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise ConfigurationError(self.explanation(name))

    def __getitem__(self, name: str) -> NoReturn:
        raise ConfigurationError(self.explanation(name))

    def __setitem__(self, name: str, value: object) -> NoReturn:
        raise ConfigurationError(self.explanation(name))
