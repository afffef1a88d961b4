"""What fits a budget: the largest context and batch, and the refusal that names them."""

from collections.abc import Callable
from dataclasses import dataclass

from sala_compile.runtime.artifact.program import Program
from sala_compile.runtime.common.units import format_bytes, format_tokens
from sala_compile.runtime.errors import MemoryBudgetError
from sala_compile.runtime.plan.arena_packing import largest
from sala_compile.runtime.plan.least import LeastMemory
from sala_compile.runtime.plan.memory import MemoryPlan, plan_memory
from sala_compile.runtime.plan.sizes import MAX_CONTEXT, MAX_SEQUENCES, Sizes


def largest_context(
    program: Program,
    target: str,
    sizes: Sizes,
    weight_bytes: int,
    budget: int,
    least: LeastMemory | None = None,
) -> int:
    """The longest context in tokens, whole pages, that fits `budget` with the given batch.

    `least` is the program's, if it is known already.
    """
    page = program.paging.page_tokens

    def resized(pages: int) -> Sizes:
        return sizes.with_context(pages * page)

    known = LeastMemory(program, target) if least is None else least
    fitting = _Fitting(program, target, weight_bytes, budget, resized, known)
    return fitting.largest(MAX_CONTEXT // page) * page


def largest_batch(
    program: Program, target: str, sizes: Sizes, weight_bytes: int, budget: int
) -> int:
    """The most sequences of the given context that fit `budget`."""
    least = LeastMemory(program, target)
    fitting = _Fitting(program, target, weight_bytes, budget, sizes.with_batch, least)
    return fitting.largest(MAX_SEQUENCES)


@dataclass(frozen=True, slots=True)
class _Fitting:
    """Which of the sizes `resized(n)` fit the budget; `least` is a quick bound on what they take.

    The bound narrows the search, and what is left is planned.
    """

    program: Program
    target: str
    weight_bytes: int
    budget: int
    resized: Callable[[int], Sizes]
    least: LeastMemory

    def largest(self, limit: int) -> int:
        """The largest fitting n up to `limit`."""
        hopeful = largest(self._may_fit, limit)
        if hopeful == 0 or self._fits(hopeful):
            return hopeful
        return largest(self._fits, hopeful)

    def _may_fit(self, n: int) -> bool:
        return self.weight_bytes + self.least.total(self.resized(n)) <= self.budget

    def _fits(self, n: int) -> bool:
        try:
            plan = plan_memory(self.program, self.target, self.resized(n), self.weight_bytes)
        except MemoryBudgetError:  # no address space holds it
            return False
        return plan.total_bytes <= self.budget


def require_fit(
    program: Program, target: str, sizes: Sizes, weight_bytes: int, budget: int
) -> MemoryPlan:
    """The plan; MemoryBudgetError naming the largest context and batch if it exceeds `budget`."""
    plan = plan_memory(program, target, sizes, weight_bytes)
    if plan.total_bytes <= budget:
        return plan
    context = largest_context(program, target, sizes, weight_bytes, budget)
    batch = largest_batch(program, target, sizes, weight_bytes, budget)
    options: list[str] = []
    if context:
        options.append(f"context={context} ({format_tokens(context)}) with batch={sizes.batch}")
    if batch:
        options.append(f"batch={batch} with context={sizes.context}")
    raise MemoryBudgetError(
        f"context {sizes.context} with batch {sizes.batch} needs {plan.total_bytes} bytes "
        f"({format_bytes(plan.total_bytes)}) of memory",
        where=", ".join(f"{part} {format_bytes(size)}" for part, size in plan.parts.items()),
        expected=f"at most {budget} bytes ({format_bytes(budget)})",
        fix="; ".join(options) + " would fit" if options else "give more memory",
    )
