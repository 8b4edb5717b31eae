"""ring.lua: pass a doorbell token on."""

import pytest

from aioq.broker import scripts
from tests.broker.clock import Clock
from tests.broker.place import Place

pytestmark = pytest.mark.broker


def test_a_token_is_passed_on_and_never_are_there_more_than_16(place: Place, clock: Clock) -> None:
    place.is_sound = False  # tokens without jobs
    for rung in range(1, 20):
        assert place.run(scripts.ring(place.prefix, queue="mail")) == 1
        assert place.bells("mail") == min(rung, 16)
