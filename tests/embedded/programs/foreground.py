"""What the command `aioq server` does."""

import sys
from pathlib import Path

from aioq.core.errors import BrokerUnavailable
from aioq.embedded import ForegroundServer

from .ways import tell

try:
    with ForegroundServer(Path(sys.argv[1])) as server:
        tell(url=server.url, started=server.started)
        server.wait()
except KeyboardInterrupt:
    tell(ended="interrupted")
except BrokerUnavailable as error:
    tell(ended=str(error))
