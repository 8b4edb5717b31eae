"""The documentation: Sphinx, MyST and furo; `make docs` builds it with warnings as errors."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

from aioq import __version__

project = "aioq"
author = "The aioq authors"
copyright = f"2026, {author}"
release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "generated"]
exclude_patterns = ["_build", "_ext"]

myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]

html_theme = "furo"
html_title = f"aioq {release}"

# Docstrings write code as `code`, as Markdown does.
default_role = "code"
smartquotes = False  # they make a dash of the two hyphens of an option
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
napoleon_use_ivar = True

# Every reference must resolve (-n), except to what has no page here: the standard library,
# typing, and names of ours that are not public.
nitpick_ignore_regex = [("py:.*", r"(?!aioq\.[A-Za-z]+$).*")]
