"""Do something to a private server, and wait."""

import sys
from pathlib import Path

from aioq.embedded import PrivateServer

from .ways import end, tell

fault, directory = sys.argv[1:]
# A server with a directory is asked to end; one without is killed.
server = PrivateServer(appendonly=True, directory=Path(directory) if directory else None).start()
tell(pid=server.pid, url=server.url, scratch=str(Path(server.url.removeprefix("unix://")).parent))
if fault == "pause":
    server.pause()
if fault == "kill":
    server.kill()
tell(fault=fault)
end("wait")
