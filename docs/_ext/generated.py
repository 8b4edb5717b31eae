"""The Sphinx side of `tables`: fills in the pages, and shows public names as users see them."""

import re
from typing import Any

import tables
from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

import aioq

CONSTRUCTED = {"Aioq", "Retry", "Worker"}
"""The classes that users construct; of the others the signature says nothing to them."""


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


def show_signature(
    app: Sphinx,  # noqa: ARG001 - Sphinx's event
    what: str,
    name: str,
    obj: object,  # noqa: ARG001
    options: object,  # noqa: ARG001
    signature: str | None,
    returns: str | None,
) -> tuple[str | None, str | None] | None:
    """Leave out how an object is made inside, and what awaiting a coroutine means."""
    if signature is None:
        return None
    if what in {"class", "exception"} and name.rpartition(".")[2] not in CONSTRUCTED:
        return "", None
    coroutine = re.fullmatch(r".*Coroutine\[(?:~?[\w.]+, ){2}(.+)\]", returns or "")
    return signature, coroutine[1] if coroutine else returns


def keep_colons(
    app: Sphinx,  # noqa: ARG001 - Sphinx's event
    what: str,
    name: str,  # noqa: ARG001
    obj: object,  # noqa: ARG001
    options: object,  # noqa: ARG001
    lines: list[str],
) -> None:
    """Keep napoleon from reading `Ended: the task returned` as a type and its meaning."""
    if what in {"attribute", "property", "data"} and lines:
        # Only between two backticks does napoleon leave a colon alone: `module:app`.
        code = re.sub(r"(?<!`)`([^`]*:[^`]*)`(?!`)", r"``\1``", lines[0])
        lines[0] = code.replace(": ", " – ")  # noqa: RUF001 - a dash is meant


def setup(app: Sphinx) -> dict[str, bool]:
    """Register all of them."""
    app.connect("source-read", fill_in)
    app.connect("missing-reference", find_public)
    app.connect("autodoc-process-signature", show_signature)
    app.connect("autodoc-process-docstring", keep_colons, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
