"""Every way to name an app, and to find one that is not named."""

import sys

import pytest

from aioq import Aioq
from aioq.cli import discovery
from aioq.cli.flags import settle
from tests.cli.conftest import Project

APP = "from aioq import Aioq\n\napp = Aioq()\n"


class Said(list[str]):
    """What was said to the user."""


@pytest.fixture
def said() -> Said:
    return Said()


def find(
    argument: str | None = None, flag: str | None = None, said: Said | None = None
) -> tuple[str, str]:
    """Find an app; return its reference, and how it was found."""
    heard = Said() if said is None else said
    found = discovery.find(argument, flag, settle({}), say=heard.append)
    assert isinstance(found.app, Aioq)
    return found.reference.name, found.how


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("shop.tasks:app", "shop.tasks:app"),
        ("shop.tasks", "shop.tasks:app"),
        ("shop.tasks:other.queue", "shop.tasks:other.queue"),
        ("shop.tasks:make", "shop.tasks:make"),
        ("shop.tasks:make()", "shop.tasks:make"),
        ("shop/tasks.py:app", "shop.tasks:app"),
        ("./shop/tasks.py", "shop.tasks:app"),
        ("shop:app", "shop:app"),
        ("shop/__init__.py", "shop:app"),
    ],
)
@pytest.mark.parametrize("way", ["argument", "flag"])
def test_a_reference_in_each_form(project: Project, text: str, name: str, way: str) -> None:
    project.write("shop/__init__.py", APP)
    project.write(
        "shop/tasks.py", f"{APP}class other:\n    queue = app\n\ndef make(): return Aioq()"
    )

    if way == "argument":
        assert find(text) == (name, "named on the command line")
    else:
        assert find(None, text) == (name, "by -A")


def test_the_current_folder_comes_first_on_the_path(project: Project) -> None:
    project.write("tasks.py", APP)
    find("tasks")

    assert sys.path[0] == str(project.folder)


def test_a_file_elsewhere_is_imported_from_the_root_of_its_package(
    project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("elsewhere") / "warehouse"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "stock.py").write_text(APP)

    assert find(f"{folder}/stock.py:app")[0] == "warehouse.stock:app"
    assert sys.modules.pop("warehouse.stock")
    assert sys.modules.pop("warehouse")


def test_the_environment_names_it(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write("pyproject.toml", '[tool.aioq]\napp = "nothing:here"\n')
    project.write("shop.py", APP)
    monkeypatch.setenv("AIOQ_APP", "shop:app")

    assert find() == ("shop:app", "from AIOQ_APP")


def test_pyproject_names_it(project: Project) -> None:
    project.write("pyproject.toml", '[tool.aioq]\napp = "shop:app"\n')
    project.write("shop.py", APP)

    assert find() == ("shop:app", "from pyproject.toml")


@pytest.mark.parametrize("text", ["shop:app", "shop.py:app"])
def test_what_pyproject_names_lies_in_its_folder(
    project: Project, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    project.write("pyproject.toml", f'[tool.aioq]\napp = "{text}"\n')
    project.write("shop.py", APP)
    project.write("deep/below/readme", "")
    monkeypatch.chdir(project.folder / "deep" / "below")

    assert find() == ("shop:app", "from pyproject.toml")


@pytest.mark.parametrize(
    ("file", "name", "to_write"),
    [
        ("tasks.py", "tasks:app", "tasks:app"),
        ("app.py", "app:app", "app:app"),
        ("main.py", "main:app", "main:app"),
        ("app/tasks.py", "app.tasks:app", "app.tasks:app"),
        ("src/shop/tasks.py", "shop.tasks:app", "src/shop/tasks.py:app"),
    ],
)
def test_the_usual_files_are_looked_through(
    project: Project, said: Said, file: str, name: str, to_write: str
) -> None:
    project.write(file, APP)
    if file.startswith("src/"):
        project.write("src/shop/__init__.py", "")

    assert find(said=said) == (name, f"discovered in {file}")
    assert said == [
        f"found the app {name} in {file}; to make that permanent, write into pyproject.toml:\n"
        f'    [tool.aioq]\n    app = "{to_write}"'
    ]


def test_what_is_to_be_written_works(project: Project) -> None:
    project.write("src/shop/tasks.py", APP)
    project.write("src/shop/__init__.py", "")
    project.write("pyproject.toml", '[tool.aioq]\napp = "src/shop/tasks.py:app"\n')

    assert find() == ("shop.tasks:app", "from pyproject.toml")


def test_a_file_without_an_app_is_passed_over(project: Project) -> None:
    project.write("tasks.py", "x = 1\n")
    project.write("main.py", APP)

    assert find()[0] == "main:app"


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("queue = Aioq()\napp = Aioq()", "shop:app"),
        ("queue = Aioq()\nx = Aioq()", "shop:queue"),
        ("celery_app = Aioq()\naioq = Aioq()", "shop:aioq"),
        ("app = 'of another framework'\nmine = Aioq()", "shop:mine"),
        ("one = Aioq()\nsame = one", "shop:one"),
    ],
)
def test_the_app_of_a_module_of_which_no_attribute_is_named(
    project: Project, source: str, name: str
) -> None:
    project.write("shop.py", f"from aioq import Aioq\n{source}\n")

    assert find("shop")[0] == name


def test_the_included_modules_are_loaded(project: Project) -> None:
    project.write("shop.py", "from aioq import Aioq\napp = Aioq(include=['mail'])\n")
    project.write("mail.py", "import aioq\n@aioq.task\nasync def send() -> None: ...\n")
    found = discovery.find("shop:app", None, settle({}), say=print)

    assert list(found.app.tasks) == ["mail.send"]
