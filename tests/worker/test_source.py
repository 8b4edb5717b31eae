"""Where an app comes from: the same words for whoever imports it."""

import subprocess
import sys
from pathlib import Path

import pytest

from aioq import Aioq

SHOP = """
from aioq import Aioq

other = Aioq(name="other")
app = Aioq()

if __name__ == "__main__":
    print(app.source, other.source)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "tasks.py").write_text(SHOP)
    return tmp_path


def run(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    "words",
    [
        ("-c", "from shop.tasks import app, other; print(app.source, other.source)"),
        ("-m", "shop.tasks"),
    ],
    ids=["imported", "run as a module"],
)
def test_it_is_the_module_and_the_variable(folder: Path, words: tuple[str, ...]) -> None:
    assert run(folder, *words) == "shop.tasks:app shop.tasks:other"


def test_of_a_program_it_is_the_file(folder: Path) -> None:
    assert run(folder, "shop/tasks.py") == "tasks:app tasks:other"


def test_of_a_factory_it_is_the_function() -> None:
    assert Aioq().source == f"{__name__}:test_of_a_factory_it_is_the_function"


class Derived(Aioq):
    def __init__(self) -> None:
        super().__init__(name="derived")


derived = Derived()


def test_a_class_of_ones_own_is_no_place() -> None:
    assert derived.source == f"{__name__}:derived"


def test_an_app_whose_variable_is_gone_has_the_usual_one() -> None:
    made: dict[str, object] = {"__name__": "shop", "Aioq": Aioq}
    exec("found = [Aioq().source]", made)  # noqa: S102 - a module of its own
    assert made["found"] == ["shop:app"]
