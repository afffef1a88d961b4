"""How memory grows with the context, and the longest context on machines of usual sizes."""

from dataclasses import replace

from sala_compile.runtime.artifact.format_model import ALIGNMENT
from sala_compile.runtime.artifact.program import Program
from sala_compile.runtime.plan.fit import largest_context
from sala_compile.runtime.plan.least import LeastMemory
from sala_compile.runtime.plan.sizes import Sizes

USUAL_BUDGETS = tuple(size << 30 for size in (8, 16, 24, 32, 80, 141))
"""Memory of usual machines and accelerators, in bytes."""


def token_parts(program: Program, target: str, sizes: Sizes) -> dict[str, float]:
    """Bytes that one more token of context of one sequence adds to each part, on average.

    Measured between whole pages of the largest kind, so many that tables (int32) grow by whole
    alignments. The arena's is that of its lower bound, which scores of one query reach at last.
    """
    unit = program.paging.largest_page * ALIGNMENT // 4
    alone = replace(sizes.with_batch(1), snapshots=0)
    first = alone.with_context(-(-sizes.context // unit) * unit)
    least = LeastMemory(program, target)
    before = least.parts(first)
    after = least.parts(first.with_context(first.context + unit))
    return {part: (after[part] - before[part]) / unit for part in before}


def largest_contexts(
    program: Program, target: str, sizes: Sizes, weight_bytes: int, budgets: tuple[int, ...]
) -> dict[int, int]:
    """For each budget in bytes the longest context in tokens that fits it; 0 if none does."""
    least = LeastMemory(program, target)
    return {
        budget: largest_context(program, target, sizes, weight_bytes, budget, least)
        for budget in budgets
    }
