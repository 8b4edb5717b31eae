"""Start a private server, fork a child, and let one of the two end."""

import os
import sys

from aioq.embedded import PrivateServer

from .ways import end, tell

who_ends = sys.argv[1]

with PrivateServer() as server:
    child = os.fork()
    if child == 0:
        if who_ends == "child":
            # Leaves the `with` block and runs every exit handler.
            sys.exit(0)
        end("wait")
    if who_ends == "child":
        os.waitpid(child, 0)
    tell(pid=server.pid, url=server.url, directory=str(server.directory), child=child)
    end("wait")
