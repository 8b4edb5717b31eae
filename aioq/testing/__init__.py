"""Helpers for the tests of applications: a real worker on a real, private server."""

from aioq.testing.running import embedded_server, running

__all__ = ["embedded_server", "running"]
