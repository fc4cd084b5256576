"""The engine against each request alone, over random programs."""

from __future__ import annotations

from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.generation.engine_model import Played, random_program


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.randoms(use_true_random=False))
def test_every_request_gives_what_it_gives_alone(random: Random) -> None:
    Played(random_program(random)).play()


def test_programs_of_known_seeds() -> None:
    for seed in range(400):
        try:
            Played(random_program(Random(seed))).play()
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
