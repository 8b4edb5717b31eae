"""Say once that the server is away, and once that it is back."""

import logging
import time

log: logging.Logger = logging.getLogger("aioq.worker")


class Outage:
    """The weather of one worker, as all its services see it."""

    def __init__(self) -> None:
        self._since: float | None = None

    def turned(self, error: BaseException) -> None:
        """Note that the server could not be asked."""
        if self._since is None:
            self._since = time.monotonic()
            log.warning("The server is away (%s); running jobs go on.", error)

    def cleared(self) -> None:
        """Note that the server has answered."""
        if self._since is not None:
            log.warning("The server is back after %.1f s.", time.monotonic() - self._since)
            self._since = None
