"""Takes a protection away before the tests run: `AIOQ_MUTANT='no fence' pytest -p ...plugin`."""

import os

import pytest

from aioq.broker import scripts
from tests.mutants.mutants import BY_NAME, Mutant

VARIABLE = "AIOQ_MUTANT"


def mutated(mutant: Mutant, name: str, source: str) -> str:
    """Return a script without the protection; what is to go must stand in it exactly once."""
    for script, old, new in mutant.edits:
        if script == name:
            assert source.count(old) == 1, f"{name}.lua has {source.count(old)} times: {old}"
            source = source.replace(old, new)
    return source


def pytest_configure() -> None:
    """Take it away."""
    mutant = BY_NAME[os.environ[VARIABLE]]
    patch = pytest.MonkeyPatch()
    read = scripts.read
    patch.setattr(scripts, "read", lambda name: mutated(mutant, name, read(name)))  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    mutant.patch(patch)
