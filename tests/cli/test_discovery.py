"""Every way to name an app, to find one that is not named, and what goes wrong with each."""

import sys

import pytest

from aioq import Aioq
from aioq.cli import discovery
from aioq.cli.failures import NotLoaded
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


def failure(argument: str | None = None) -> str:
    """Return why no app was found."""
    with pytest.raises(NotLoaded) as raised:
        find(argument)
    assert raised.value.exit_code == 3
    return raised.value.message


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
    project.write("shop/tasks.py", f"{APP}class other:\n    queue = app\n\ndef make(): return Aioq()")

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


def test_no_app_anywhere(project: Project) -> None:
    message = failure()

    assert "no app is named, and there is none of tasks.py, app.py, main.py" in message
    assert str(project.folder) in message
    assert '[tool.aioq]\n    app = "module:app"' in message


def test_no_app_in_the_usual_files(project: Project) -> None:
    project.write("tasks.py", "x = 1\n")

    assert "no app is named, and there is no app in tasks.py" in failure()


def test_a_module_that_is_not_there(project: Project) -> None:
    project.write("tasks.py", APP)
    message = failure("task:app")

    assert message.startswith("there is no module 'task'; did you mean 'tasks'?")
    assert f"the current folder, {project.folder}" in message
    assert "pip install -e ." in message


def test_a_module_that_is_not_in_its_package(project: Project) -> None:
    project.write("shop/__init__.py", "")
    project.write("shop/tasks.py", APP)

    assert failure("shop.task:app") == "shop has no module 'task'; did you mean 'tasks'?"


def test_a_dot_in_place_of_the_colon(project: Project) -> None:
    project.write("tasks.py", APP)

    assert failure("tasks.app").endswith("if app is the app in it, write tasks:app")


def test_a_file_that_is_not_there(project: Project) -> None:
    project.write("tasks.py", APP)

    assert failure("task.py").endswith("/task.py; did you mean 'tasks.py'?")
    assert failure("no/such.py").endswith("/no/such.py")


def test_a_file_that_is_hidden_by_another_module(project: Project) -> None:
    project.write("queue.py", APP)
    message = failure("queue.py:app")

    assert message.startswith(f"{project.folder}/queue.py cannot be imported as 'queue'")
    assert message.endswith("/queue.py has that name as well; rename the file")


def test_an_attribute_that_is_not_there(project: Project) -> None:
    project.write("tasks.py", APP)

    assert failure("tasks:ap") == (
        "tasks has no attribute 'ap'; did you mean 'app'?\n  The apps in this module: tasks:app"
    )
    assert failure("tasks:app.queue").startswith("tasks.app has no attribute 'queue'")


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        ("text", "shop:text is of type str, and no Aioq app"),
        ("Aioq", "shop:Aioq is a class, and no Aioq app"),
        ("task", "shop:task is of type AsyncTask, and no Aioq app"),
        ("number", "what shop:number returns is of type int, and no Aioq app"),
        ("later", "shop:later is an async def; a factory of apps is a plain def"),
    ],
)
def test_an_attribute_that_is_no_app(project: Project, attribute: str, message: str) -> None:
    project.write(
        "shop.py",
        f"{APP}text = 'x'\ndef number(): return 1\nasync def later(): return app\n"
        "@app.task\nasync def task() -> None: ...\n",
    )

    assert failure(f"shop:{attribute}").startswith(message)


def test_a_factory_that_raises(project: Project) -> None:
    project.write("shop.py", "def make():\n    raise OSError('no database')\n")
    message = failure("shop:make")

    assert 'File "shop.py", line 2\n    raise OSError' in message
    assert "OSError: no database" in message


def test_several_apps(project: Project) -> None:
    project.write("shop.py", "from aioq import Aioq\na = Aioq()\nb = Aioq()\n")

    assert failure("shop") == "shop has 2 apps, name one of them: shop:a, shop:b"


def test_a_module_without_an_app(project: Project) -> None:
    project.write("shop.py", "x = 1\n")

    assert failure("shop").startswith("shop has no Aioq app")


@pytest.mark.parametrize(
    ("source", "place", "reason"),
    [
        ("x = 1\nx.y\n", 'File "shop.py", line 2\n    x.y', "AttributeError: 'int' object has no"),
        ("app = Aioq(\n", 'File "shop.py", line 1\n    app = Aioq(', "SyntaxError: '(' was never"),
        ("import nothing\n", 'File "shop.py", line 1\n    import nothing', "No module named"),
        ("import sys\nsys.exit('bye')\n", 'File "shop.py", line 2', "SystemExit: bye"),
        ("import broken\n", 'File "broken.py", line 2', "ZeroDivisionError: division by zero"),
        ("import json\njson.loads('{')\n", 'File "shop.py", line 2', "JSONDecodeError: Expecting"),
        (
            "from aioq import Aioq\napp = Aioq()\n@app.task(retires=1)\nasync def f(): ...\n",
            'File "shop.py", line 3\n    @app.task(retires=1)',
            "ConfigurationError: task shop.f: unknown option 'retires'",
        ),
        (
            "from aioq import Aioq\napp = Aioq('http://x')\n",
            'File "shop.py", line 2',
            "ConfigurationError: the URL 'http://x' has no scheme that is known",
        ),
    ],
)
def test_a_module_that_raises(project: Project, source: str, place: str, reason: str) -> None:
    project.write("broken.py", "def f():\n    1 / 0\nf()\n")
    project.write("shop.py", source)
    message = failure("shop:app")

    assert message.startswith("shop:app cannot be loaded:\n")
    assert place in message
    assert reason in message
    assert "AIOQ_DEBUG=1" in message


def test_an_included_module_that_is_not_there(project: Project) -> None:
    project.write("shop.py", "from aioq import Aioq\napp = Aioq(include=['mail.send'])\n")

    assert failure("shop") == "shop includes modules, and there is no module 'mail'"


def test_an_included_module_that_raises(project: Project) -> None:
    project.write("shop.py", "from aioq import Aioq\napp = Aioq(include=['mail'])\n")
    project.write("mail.py", "import nothing\n")

    assert 'File "mail.py", line 1' in failure("shop")


@pytest.mark.parametrize("command", [["worker", "shop:app"], ["call", "-A", "shop:app", "f"]])
def test_a_failure_is_one_message_and_exit_code_3(project: Project, command: list[str]) -> None:
    project.write("shop.py", "1 / 0\n")
    done = project.run(*command)

    assert done.exit_code == 3
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ")
    assert "\nError" not in done.stderr
    assert "ZeroDivisionError: division by zero" in done.stderr
    assert "Traceback" not in done.stderr


def test_who_debugs_sees_the_traceback(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write("shop.py", "1 / 0\n")
    monkeypatch.setenv("AIOQ_DEBUG", "1")
    done = project.run("worker", "shop:app")

    assert "Traceback (most recent call last):" in done.stderr
    assert "AIOQ_DEBUG" not in done.stderr
