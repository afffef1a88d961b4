"""What bounds a step of the released model on a GPU, beside the least that it could take."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu.cards import Card
from benchmarks.gpu.floors import floor_seconds
from benchmarks.gpu.launch_bounds import Predicted, predicted
from benchmarks.gpu.released import calls_of
from benchmarks.gpu.sizes import Sizes
from benchmarks.gpu.work import Case
from sala_compile.codegen.lowering import Lowered

CHUNK = 8192
PARTS = 5
"""Contexts at which a prefill is looked at."""


@dataclass(frozen=True, slots=True)
class Step:
    """A decoded token, or the prefill of a whole context.

    `rows` are the launches of the token, or of the prefill's middle chunk; `seconds` and `floor`
    are of the token or of the whole prefill.
    """

    rows: list[Predicted]
    seconds: float
    floor: float

    @property
    def ratio(self) -> float:
        """Seconds beside the least."""
        return self.seconds / self.floor

    @property
    def launches(self) -> int:
        """Of the token or the middle chunk."""
        return sum(row.times for row in self.rows)


def step_of(
    model: Lowered,
    phase: str,
    context: int,
    card: Card,
    cache: Path,
    blocks: Mapping[int, Mapping[str, Any]] | None = None,
) -> Step:
    """A token decoded after `context` tokens, or a prefill of as many.

    Code is kept in the folder `cache`; `blocks` are those of `calls_of`.
    """
    sizes = Sizes.released()
    decodes = phase == "decode"
    tokens = 1 if decodes else min(CHUNK, context)
    calls = calls_of(model, phase, blocks)
    cases = [
        Case(tokens, mean, sizes.block, sizes.budget)
        for mean in ([context] if decodes else _contexts(context))
    ]
    each = [predicted(calls, case, card, cache) for case in cases]
    steps = (1 if decodes else context / tokens) / len(cases)
    floor = steps * sum(floor_seconds(calls, phase, sizes, case, card) for case in cases)
    seconds = steps * sum(row.times * row.seconds for rows in each for row in rows)
    return Step(each[len(each) // 2], seconds, floor)


def _contexts(context: int) -> list[int]:
    """Contexts of chunks that stand for all chunks of a prefill."""
    return [context * (2 * part + 1) // (2 * PARTS) for part in range(PARTS)]
