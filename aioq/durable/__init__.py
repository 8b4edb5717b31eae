"""Durable tasks: steps that run once, waits that keep no worker, and children."""

from aioq.durable.children import Child, Children
from aioq.durable.memo import Memo, NoWay, Way, check_event
from aioq.durable.steps import Durable

__all__ = ["Child", "Children", "Durable", "Memo", "NoWay", "Way", "check_event"]
