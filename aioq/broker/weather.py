"""What may go wrong on the way to the server: weather passes, a refusal does not.

Weather drops the connection and is retried, because every call may be sent again.  A refusal is
raised, because asking again would not help.
"""

import asyncio

from aioq.broker.resp import ReplyError
from aioq.core.errors import AioqError, BrokerFull, BrokerUnavailable


class Weather(AioqError, ConnectionError):
    """The server could not be asked, or could not answer now; ask again later."""


class Refused(BrokerUnavailable):
    """The server does not let us in, or does not allow a command: the URL or its ACL is wrong."""


_PASSING = {
    "LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "MOVED", "ASK", "BUSY",
    "NOREPLICAS", "UNKILLABLE", "MISCONF", "UNBLOCKED",
}  # fmt: skip
_REFUSALS = {"NOAUTH", "WRONGPASS", "NOPERM", "DENIED"}
# Inside a script the code is lost, and servers word it differently.
_REFUSING_WORDS = ("NOPERM", "ACL failure", "user executing the script can't", "unauthenticated")


def judge(error: ReplyError, *, script: str = "") -> AioqError:
    """Turn an error reply into the exception to raise."""
    where = f"{script}.lua: " if script else ""
    text = str(error)
    if error.code in _PASSING:
        return Weather(f"{where}{text}")
    if error.code == "OOM" or "OOM command not allowed" in text:
        message = (
            f"{where}the server is full ({text}); nothing was queued: let the workers drain it, or "
            "raise its maxmemory"
        )
        return BrokerFull(message)
    if error.code in _REFUSALS or any(words in text for words in _REFUSING_WORDS):
        message = f"{where}the server refused: {text}; check the URL's user, password and ACL"
        return Refused(message)
    return ReplyError(f"{where}{text}")


LOST = (Weather, OSError, EOFError, asyncio.TimeoutError)
"""What a broken connection may raise while it is being opened."""
