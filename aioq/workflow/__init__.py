"""Chains, groups, chords and graphs of calls: each is sent as one plan of jobs."""

from aioq.workflow.compositions import (
    Chain,
    Composition,
    Graph,
    Group,
    chain,
    chord,
    graph,
    group,
    joined,
)
from aioq.workflow.handles import GroupWorkflow, Workflow
from aioq.workflow.sending import send, send_sync

__all__ = [
    "Chain",
    "Composition",
    "Graph",
    "Group",
    "GroupWorkflow",
    "Workflow",
    "chain",
    "chord",
    "graph",
    "group",
    "joined",
    "send",
    "send_sync",
]
