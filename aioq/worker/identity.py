"""The name of one incarnation of a worker."""

import os
import re
import secrets
import socket


class Identity:
    """The name under which a worker holds its lease; a new one whenever the lease was lost."""

    def __init__(self) -> None:
        self._host = re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname())[:16]
        self.name: str = self.another()

    def another(self) -> str:
        """Make a new name; 24 random bits, for a container starts as the same pid every time."""
        return f"{self._host}-{os.getpid()}-{secrets.token_hex(3)}"
