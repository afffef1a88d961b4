"""From a seed to a case: hypothesis reads its choices from bytes that the seed decides."""

import random
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy

from tests.fuzz.case import Case

CHOICES = 1 << 14
"""Bytes that a case may spend; one that wants more is drawn again from others."""
TRIES = 20
_ALL: Any = list(HealthCheck)


def drawer(name: str, cases: SearchStrategy[Case]) -> Callable[[int], Case]:
    """What gives the case of every seed, the same one in every process.

    The case is only drawn inside of hypothesis: whatever runs it runs as in any process.
    """
    drawn: list[Case] = []

    @settings(database=None, deadline=None, suppress_health_check=_ALL)
    @given(cases)
    def keep(case: Case) -> None:
        drawn.append(case)

    feed = keep.hypothesis.fuzz_one_input

    def draw(seed: int) -> Case:
        choices = random.Random(f"{name} {seed}")
        for _ in range(TRIES):
            drawn.clear()
            feed(choices.randbytes(CHOICES))
            if drawn:
                return drawn.pop()
        raise RuntimeError(f"{name}: no case within {CHOICES} bytes of choices for seed {seed}")

    return draw
