"""Start a private server, and end without stopping it."""

import sys

from aioq.embedded import PrivateServer

from .ways import end, tell

server = PrivateServer(appendonly="appendonly" in sys.argv[2:]).start()
tell(pid=server.pid, url=server.url, directory=str(server.directory))
end(sys.argv[1])
