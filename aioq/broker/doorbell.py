"""The doorbell: the only blocking command, on a connection of its own.

A token says "look", and nothing more: a token lost on a dying connection loses no job, and a
worker that has no room passes the token on.
"""

from collections.abc import Sequence

from aioq.broker.connection import Connection, dial
from aioq.broker.keys import Keys
from aioq.broker.resp import ReplyError
from aioq.broker.topology import Topology
from aioq.broker.weather import judge

PATIENCE = 15
"""Seconds one BLPOP waits.  A worker looks for itself after that, should a token be lost."""


class Doorbell:
    """Tells an idle worker that there may be work."""

    def __init__(self, topology: Topology, keys: Keys, queues: Sequence[str]) -> None:
        self._topology = topology
        self._queues = {keys.bell(queue).encode(): queue for queue in queues}
        self._connection: Connection | None = None

    async def listen(self) -> str | None:
        """Wait for a token and return its queue; None after `PATIENCE` seconds.

        Raises:
            Weather: the connection was lost; there may be work all the same.
            Refused: the server does not allow the command.
        """
        if self._connection is None or self._connection.is_lost:
            self._connection = await dial(self._topology, timeout=PATIENCE + 5)
        try:
            reply = await self._connection.call("BLPOP", *self._queues, PATIENCE)
        except ReplyError as error:  # such as that of a master which has become a replica
            self._connection.drop(str(error))
            raise judge(error) from None
        return None if reply is None else self._queues[reply[0]]

    def drop(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.drop()
