"""Do something to a private server, and wait."""

import sys
from pathlib import Path

from ways import end, tell

from aioq.embedded import PrivateServer

fault, directory = sys.argv[1:]
# A server with a directory is asked to end; one without is killed.
server = PrivateServer(directory=Path(directory) if directory else None).start()
tell(pid=server.pid, scratch=str(Path(server.url.removeprefix("unix://")).parent))
if fault == "pause":
    server.pause()
if fault == "kill":
    server.kill()
tell(fault=fault)
end("wait")
