"""What an app does with signatures: many jobs at once, and graphs of them."""

from collections.abc import Coroutine, Iterable, Mapping
from typing import Any, cast

from aioq.job import Job
from aioq.producer import Prepared
from aioq.tasks import Composable, Home, Signature, coroutine_function
from aioq.workflow import Graph, graph


class Composing:
    """What an app does with signatures."""

    _home: Home

    @coroutine_function
    def enqueue_many(
        self, signatures: Iterable[Signature[Any]]
    ) -> Coroutine[Any, Any, list[Job[Any]]]:
        """Make a job of each signature, at most 250 per round trip.

        Raises:
            BrokerUnavailable: its attribute `jobs` has those already made.
        """
        return self._home.producer.send_many([_prepared(each) for each in signatures])

    def graph(self, nodes: Mapping[str, Composable[Any]]) -> Graph:
        """Return a workflow of any shape: nodes by their names, each after those it depends on.

        `{"a": a.s(), "b": b.s().after("a")}`: the results of the nodes that a node comes after are
        prepended to its arguments, in that order.  The graph's result is a dict of all results.

        Raises:
            ConfigurationError: a node comes after one that is unknown, or after itself by way of
                others; or a task belongs to another app.
        """
        return graph(nodes, home=self._home)


def _prepared(signature: Signature[Any]) -> Prepared:
    if not isinstance(cast("object", signature), Signature):
        message = (
            f"enqueue_many takes signatures, not {signature!r}; a workflow is sent by itself: "
            "await workflow.enqueue()"
        )
        raise TypeError(message)
    return signature.prepare()
