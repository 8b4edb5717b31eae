"""What goes wrong with finding and loading an app: exit code 3, and one message."""

import pytest

from aioq.cli import discovery
from aioq.cli.failures import NotLoaded
from aioq.cli.flags import settle
from tests.cli.conftest import Project

APP = "from aioq import Aioq\n\napp = Aioq()\n"


def failure(argument: str | None = None) -> str:
    """Return why no app was found."""
    with pytest.raises(NotLoaded) as raised:
        discovery.find(argument, None, settle({}), say=print)
    assert raised.value.exit_code == 3
    return raised.value.message


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
