"""The events of an app: what happens to its jobs, as it happens."""

from collections.abc import AsyncGenerator
from datetime import datetime

from aioq.broker import updates
from aioq.broker.client import Client
from aioq.core.events import position_of
from aioq.core.record import JobUpdate
from aioq.core.settings import Settings


class Observing:
    """What an app can tell of all its jobs."""

    _client: Client
    settings: Settings

    def events(self, since: str | datetime | None = None) -> AsyncGenerator[JobUpdate]:
        """Tell what happens to all jobs, in order and without end.

        Args:
            since: `position` of the last update that is known, or a datetime; None: from the
                moment on in which the iteration begins.

        Raises:
            ValueError: `since` is no position.
            ConfigurationError: it is a naive datetime, and `Settings.timezone` is not set.
            StreamGap: while iterating: what comes next is not kept any more; its `position` says
                where to go on.
            BrokerUnavailable: while iterating: the server could not be asked even once, or the
                app was closed.  Later outages are waited out.
        """
        place = None if since is None else position_of(since, self.settings.zone)
        return updates.of_all(self._client.broker(), place)
