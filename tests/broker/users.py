"""Users of a server, each with its rights and for as long as a test needs it."""

from collections.abc import Generator
from contextlib import contextmanager

from aioq.broker import rights
from aioq.broker.rights import Role
from tests.broker.place import Admin


@contextmanager
def user(url: str, name: str, *rules: str) -> Generator[str]:
    """Make a user; yield the URL by which it comes."""
    admin = Admin(url)
    admin("ACL", "SETUSER", name, "reset", "on", ">secret", *rules)
    try:
        yield url.replace("unix://", f"unix://{name}:secret@")
    finally:
        admin("ACL", "DELUSER", name)
        admin.close()


@contextmanager
def acting_as(url: str, role: Role, *rules: str, app: str = "test") -> Generator[str]:
    """Make a user with the documented rights of a role, changed by further rules."""
    with user(url, role.name, *rights.rules_of(role, f"{{{app}.0}}:"), *rules) as theirs:
        yield theirs
