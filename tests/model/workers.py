"""What the scripts should know of workers: leases, who watched, orders, epochs."""

from typing import Any


class Workers:
    """All workers of an app."""

    def __init__(self, now: int) -> None:
        self.now = now
        self.leases: dict[str, int] = {}
        """When they end; 0: the worker is being reaped."""
        self.watched: int | None = None
        self.epochs: dict[str, int] = {}
        self.orders: dict[str, set[str]] = {}
        """Revokes that a worker has not yet acted on: entry id and job."""

    def is_alive(self, worker: str) -> bool:
        """Tell whether a worker may renew its lease, and fetch."""
        return self.leases.get(worker, 0) > 0

    def watch(self, lease: int) -> bool:
        """Note that somebody watches; tell whether nobody did, and leases were extended."""
        silence = self.now - (self.now if self.watched is None else self.watched)
        self.watched = self.now
        if silence <= lease / 2:
            return False
        for worker, ends in self.leases.items():
            if ends > 0:
                self.leases[worker] = max(ends, self.now + lease)
        return True

    def register(self, worker: str, lease: int) -> None:
        """Give a lease to who has none."""
        self.watch(lease)
        self.leases.setdefault(worker, self.now + lease)

    def beat(self, worker: str, lease: int) -> tuple[bool, int, set[str]]:
        """Renew a lease; return whether there is one, how many are overdue, and orders."""
        self.watch(lease)
        if not self.is_alive(worker):
            return False, 0, set()
        self.leases[worker] = self.now + lease
        return True, len(self.overdue()), self.orders.get(worker, set())

    def overdue(self) -> list[str]:
        """Return whom to reap, in order."""
        return sorted(
            (worker for worker, ends in self.leases.items() if ends <= self.now),
            key=lambda worker: (self.leases[worker], worker),
        )

    def may_recover(self, worker: str, epoch: int) -> bool:
        """Begin an epoch, unless it is not a new one."""
        if self.epochs.get(worker, 0) >= epoch:
            return False
        self.epochs[worker] = epoch
        return True

    def end(self, worker: str) -> None:
        """Let go of a lease that is being reaped."""
        if worker in self.leases:
            self.leases[worker] = 0

    def forget(self, worker: str) -> None:
        """Forget one that is reaped to the end."""
        for known in (self.leases, self.epochs, self.orders):
            known.pop(worker, None)

    def tell(self, worker: str, token: bytes, name: str) -> None:
        """Order a worker to end a delivery."""
        self.orders.setdefault(worker, set()).add(f"{token.decode()} {name}")

    def hear(self, worker: str | None, token: bytes, name: str) -> None:
        """Note that an order needs no repetition."""
        if worker in self.orders:
            self.orders[worker].discard(f"{token.decode()} {name}")

    def dump(self) -> dict[str, Any]:
        """Return what the server should hold."""
        found: dict[str, Any] = {
            f"cx:{worker}": orders for worker, orders in self.orders.items() if orders
        }
        if self.leases:
            found["lw"] = dict(self.leases)
        if self.epochs:
            found["e"] = {worker: str(epoch) for worker, epoch in self.epochs.items()}
        if self.watched is not None:
            found["t"] = str(self.watched).encode()
        return found
