"""The type checker accepts what is right, and rejects what is wrong where it is wrong."""

import json
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

Errors = dict[str, dict[int, str]]
"""What is wrong, by file name and line."""

BIN = Path(sys.executable).parent
HERE = Path(__file__).parent
WRONG = sorted((HERE / "wrong").glob("*.py"))
FILES = [HERE / "right.py", *WRONG]


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> Errors:
    """Run pyright once over all files, in a folder where only its own settings count."""
    folder = tmp_path_factory.mktemp("pyright")
    for path in FILES:
        shutil.copy(path, folder)
    (folder / "pyrightconfig.json").write_text(json.dumps({"typeCheckingMode": "strict"}))
    done = subprocess.run(
        [BIN / "pyright", "--outputjson", "--pythonpath", sys.executable],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == len(FILES)
    found: Errors = defaultdict(dict)
    for diagnostic in report["generalDiagnostics"]:
        if diagnostic["severity"] == "error":
            line = diagnostic["range"]["start"]["line"] + 1
            found[Path(diagnostic["file"]).name][line] = diagnostic["message"]
    return found


def marked(path: Path) -> set[int]:
    """Return the lines that are marked as wrong."""
    lines = path.read_text("utf-8").splitlines()
    return {number for number, line in enumerate(lines, 1) if line.endswith("  # error")}


def test_what_is_right_is_accepted(errors: Errors) -> None:
    assert errors["right.py"] == {}


@pytest.mark.parametrize("path", WRONG, ids=lambda path: path.stem)
def test_what_is_wrong_is_rejected_and_nothing_else(path: Path, errors: Errors) -> None:
    found = errors[path.name]
    lines = path.read_text("utf-8").splitlines()
    accepted = [lines[number - 1].strip() for number in marked(path) - found.keys()]
    rejected = {lines[number - 1].strip(): found[number] for number in found.keys() - marked(path)}
    assert (accepted, rejected) == ([], {})
