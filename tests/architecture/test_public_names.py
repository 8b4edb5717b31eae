"""What `aioq` shows to the world, and what importing it costs."""

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import aioq

HEAVY = {"redis", "click", "msgspec", "anyio", "asyncio", "pydantic", "hiredis", "uvloop"}
"""What `import aioq` must not import; most programs need only some of it, or none."""


def modules_after(code: str) -> set[str]:
    """Run code in an interpreter of its own; return the modules it has imported."""
    ask = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def says(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def names_for_the_checker() -> dict[str, str]:
    """Return what `aioq/__init__.py` imports for type checkers: name to module."""
    tree = ast.parse(Path(aioq.__file__).read_text("utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {
        alias.name: node.module or ""
        for node in imports
        for alias in node.names
        if (node.module or "").startswith("aioq.")
    }


@pytest.mark.parametrize("name", aioq.__all__)
def test_every_public_name_is_what_the_type_checker_believes_it_is(name: str) -> None:
    value = getattr(aioq, name)
    assert getattr(importlib.import_module(names_for_the_checker()[name]), name) is value
    assert getattr(aioq, name) is value, "the second time too"


def test_the_public_names_are_those_that_are_listed() -> None:
    assert sorted(aioq.__all__) == sorted(names_for_the_checker())
    assert dir(aioq) == sorted(aioq.__all__)
    found = says("from aioq import *; print(*sorted(n for n in dir() if n[0] != '_'))").split()
    assert found == sorted(aioq.__all__)


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    name = "nonsense"
    with pytest.raises(AttributeError, match="module 'aioq' has no attribute 'nonsense'"):
        getattr(aioq, name)


def test_importing_aioq_imports_nothing_heavy() -> None:
    imported = modules_after("import aioq")
    assert not imported & HEAVY
    ours = {name for name in imported if name.startswith("aioq")}
    assert ours == {"aioq"}


def test_an_error_class_brings_no_client_library() -> None:
    assert not modules_after("from aioq import TaskFailed, BrokerFull") & (HEAVY - {"asyncio"})


def test_an_app_can_be_made_without_a_command_line_and_a_worker() -> None:
    imported = modules_after("import aioq; aioq.Aioq('redis://nowhere')")
    assert not imported & {"click", "pydantic", "uvloop"}
    assert not {name for name in imported if name.startswith(("aioq.worker", "aioq.cli"))}


@pytest.mark.parametrize(
    "code",
    [
        "import aioq, aioq.tasks, aioq.worker",
        "import aioq.worker, aioq.tasks, aioq",
        "import aioq.app.app, aioq.cli.main, aioq",
        "from aioq.tasks import Task; import aioq; aioq.Task",
        "import aioq; aioq.task; import aioq.tasks",
    ],
)
def test_no_module_takes_the_place_of_the_decorator(code: str) -> None:
    assert says(f"{code}\nprint(type(aioq.task).__name__)") == "function"


def test_no_module_of_the_package_has_the_name_of_something_public() -> None:
    folder = Path(aioq.__file__).parent
    modules = {path.stem for path in folder.glob("*.py")} | {
        path.name for path in folder.iterdir() if path.is_dir()
    }
    assert not modules & set(aioq.__all__)
