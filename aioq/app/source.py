"""Where an app comes from: `module:app`, the same for whoever imports it."""

from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any


class Source:
    """The place where an app was made; its variable is looked for when it is asked for.

    Args:
        app: the app.
        frame: that of its construction.
    """

    def __init__(self, app: object, frame: FrameType | None) -> None:
        self._app = app
        # The constructor of a class derived from ours is no place of the user's.
        while frame is not None and frame.f_locals.get("self") is app:
            frame = frame.f_back
        self._globals: Mapping[str, Any] = {} if frame is None else frame.f_globals
        self._function = "" if frame is None else frame.f_code.co_name

    def __str__(self) -> str:
        return f"{self._module}:{self._variable}"

    @property
    def _module(self) -> str:
        name: str = self._globals.get("__name__", "")
        if name not in {"__main__", "__mp_main__"}:
            return name
        spec = self._globals.get("__spec__")
        if spec is not None:  # python -m package.module
            return spec.name
        return Path(self._globals.get("__file__", name)).stem

    @property
    def _variable(self) -> str:
        for name, value in list(self._globals.items()):
            if value is self._app:
                return name
        is_factory = self._function and not self._function.startswith("<")
        return self._function if is_factory else "app"
