"""Open the shared server of a project, and end without closing it."""

import os
import subprocess
import sys
from pathlib import Path

from aioq.embedded import SharedServer

from .ways import end, tell

project, way, *options = sys.argv[1:]
server = SharedServer(Path(project)).open()
child = 0
if "executes" in options:
    child = subprocess.Popen(["sleep", "30"], close_fds=False).pid
if "forks" in options:
    child = os.fork()
    if child == 0:
        end("wait")
tell(started=server.started, url=server.url, child=child)
end(way)
