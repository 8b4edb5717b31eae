"""The Sphinx side of `tables`: fills in the pages, and finds public names by their public home."""

from typing import Any

import tables
from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

import aioq


def fill_in(app: Sphinx, name: str, source: list[str]) -> None:  # noqa: ARG001 - Sphinx's event
    """Replace `<!-- generated: ... -->` marks before a page is read."""
    source[0] = tables.expand(source[0])


def find_public(
    app: Sphinx,  # noqa: ARG001 - Sphinx's event
    env: BuildEnvironment,
    node: pending_xref,
    text: nodes.TextElement,
) -> nodes.reference | None:
    """Resolve `aioq.job.Job`, which annotations name, as `aioq.Job`, which is documented."""
    name = node.get("reftarget", "").rpartition(".")[2]
    if node.get("refdomain") != "py" or name not in aioq.__all__:
        return None
    domain: Any = env.get_domain("py")
    found = domain.resolve_any_xref(
        env, node["refdoc"], env.app.builder, f"aioq.{name}", node, text
    )
    return found[0][1] if found else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Register both."""
    app.connect("source-read", fill_in)
    app.connect("missing-reference", find_public)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
