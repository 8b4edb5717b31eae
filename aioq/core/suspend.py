"""What ends the delivery of a durable job that has to wait, so that it keeps no worker."""

from typing import cast


class Suspend(BaseException):
    """Raised inside a task by `ctx.sleep`, `ctx.wait_event` and `ctx.wait`: let it pass.

    It is no `Exception`, so that `except Exception` does not catch it and `finally` runs.  The job
    comes back as a new delivery when what it waits for has come.
    """

    def __init__(self, due_ms: int | None, names: tuple[str, ...]) -> None:
        super().__init__("the job waits outside of its worker")
        self.due_ms = due_ms
        """When it goes on at the latest, by the server's clock."""
        self.names = names
        """The entries of its memo that it waits for."""


def suspend_in(error: BaseException) -> Suspend | None:
    """Return the request to suspend that came out of a task, also from inside a task group.

    A group stands for one where all that is in it are such requests; an error beside them counts.
    """
    if isinstance(error, Suspend):
        return error
    if not isinstance(error, BaseExceptionGroup):
        return None
    group = cast("BaseExceptionGroup[BaseException]", error)
    found = [suspend_in(inner) for inner in group.exceptions]
    return found[0] if all(found) else None
