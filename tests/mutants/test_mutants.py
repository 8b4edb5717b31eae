"""The gate: no protection can be taken away unnoticed."""

import os
import re
import subprocess
import sys

import pytest

from aioq.broker import scripts
from tests.mutants.mutants import MUTANTS, Mutant
from tests.mutants.plugin import VARIABLE, mutated

NAMES = [mutant.name for mutant in MUTANTS]


@pytest.mark.parametrize("mutant", MUTANTS, ids=NAMES)
def test_what_a_mutant_takes_away_stands_there_once(mutant: Mutant) -> None:
    for script, _, _ in mutant.edits:
        source = scripts.read(script)
        assert mutated(mutant, script, source) != source


@pytest.mark.soak
@pytest.mark.parametrize("mutant", MUTANTS, ids=NAMES)
def test_a_named_test_notices(mutant: Mutant) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:randomly"]
    command += ["-p", "no:cacheprovider", "-p", "tests.mutants.plugin", "--timeout", "60"]
    done = subprocess.run(
        [*command, *mutant.caught_by],
        env={**os.environ, VARIABLE: mutant.name},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    failed = re.findall(r"^FAILED (\S+)", done.stdout, re.MULTILINE)
    sys.stdout.write(f"{mutant.name:<50} caught by {' '.join(failed) or 'nobody'}\n")
    assert done.returncode == 1, done.stdout[-3000:] + done.stderr[-2000:]
    assert failed
    # A script that does not compile would be noticed by anything, and proves nothing.
    assert "rror compiling script" not in done.stdout
