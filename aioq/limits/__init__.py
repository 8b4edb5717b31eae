"""Limits by name: those of tasks, and a limiter that anything can use."""

from aioq.limits.limiter import Limiter, make_limiter
from aioq.limits.limits import LimitInfo, Limits

__all__ = ["LimitInfo", "Limiter", "Limits", "make_limiter"]
