"""The name of one incarnation of a worker."""

import os
import re
import secrets
import socket
import string

_LETTERS = string.ascii_letters + string.digits


class Identity:
    """The name under which a worker holds its lease; a new one whenever the lease was lost."""

    def __init__(self) -> None:
        self._host = re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname())[:16]
        self.name: str = self.another()

    def another(self) -> str:
        """Make a new name; four random letters, for a container starts as the same pid every time.

        They are few because the name is a part of each record.
        """
        letters = "".join(secrets.choice(_LETTERS) for _ in range(4))
        return f"{self._host}-{os.getpid()}-{letters}"
