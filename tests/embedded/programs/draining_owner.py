"""Use a private server through Ctrl-C, as a worker does that drains."""

import signal

from ways import end, tell

from aioq.embedded import PrivateServer

server = PrivateServer().start()


def drain(number: int, frame: object) -> None:
    tell(interrupted=True)


signal.signal(signal.SIGINT, drain)
tell(pid=server.pid, url=server.url)
end("wait")
