"""Check that every public name has a type that every type checker understands alike.

Run by `make types`.  It asks pyright for the completeness of the package and lists what is
missing: the names without an annotation first, because most others follow from them.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent


def ask() -> dict[str, Any]:
    """Run pyright on the installed package; this Python must be first on PATH to be found."""
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        [BIN / "pyright", "--verifytypes", "aioq", "--ignoreexternal", "--outputjson"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    return json.loads(done.stdout)["typeCompleteness"]


def missing(report: dict[str, Any]) -> list[str]:
    """Say of each incomplete name what is wrong with it, causes before consequences."""
    found: list[tuple[bool, str]] = []
    for symbol in report["symbols"]:
        if symbol["isExported"]:
            for diagnostic in symbol["diagnostics"]:
                text = " ".join(diagnostic["message"].split())
                found.append(("partially unknown" in text, f"{symbol['name']}: {text}"))
    return [text for _, text in sorted(found)]


def main() -> int:
    """Return 0 where all is known."""
    report = ask()
    lines = missing(report)
    score = report["completenessScore"]
    lines.append(f"type completeness: {score:.1%}, {len(lines)} names to mend")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0 if score == 1 else 1


if __name__ == "__main__":
    sys.exit(main())
