"""Use a private server through Ctrl-C, as a worker does that drains."""

import signal

from aioq.embedded import PrivateServer

from .ways import end, tell

server = PrivateServer().start()


def drain(number: int, frame: object) -> None:
    tell(interrupted=True)


signal.signal(signal.SIGINT, drain)
tell(pid=server.pid, url=server.url)
end("wait")
