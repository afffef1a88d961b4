"""The rows that calls and steps need, and whether a model has them free."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from sala_compile.runtime.engine.chunk import SequenceChunk
from sala_compile.runtime.engine.limits import Limits
from sala_compile.runtime.errors import MemoryBudgetError, RequestError, SalaError
from sala_compile.runtime.state.store import State, StateStore


@dataclass(frozen=True, slots=True)
class Demand:
    """What is needed: `tokens` and `sequences` of a step, and `rows` of pools, by their names.

    Rows are pages, and slots of new sequences; they are held until the sequence is closed.
    """

    tokens: int = 0
    sequences: int = 0
    rows: Counter[str] = field(default_factory=Counter[str])

    def __add__(self, other: "Demand") -> "Demand":
        """Both together."""
        return Demand(
            self.tokens + other.tokens,
            self.sequences + other.sequences,
            self.rows + other.rows,
        )


class Admission:
    """Says what fits, before anything changes."""

    def __init__(self, store: StateStore, limits: Limits) -> None:
        """For the sequences of `store`."""
        self._store = store
        self._limits = limits

    def call(self, state: State | None, tokens: int) -> Demand:
        """What a call needs that appends so many tokens; with None for a sequence, one more."""
        length = tokens if state is None else state.length + tokens
        rows = Counter(self._store.missing(state, length))
        if state is None:
            rows[self._store.slots.name] += 1
        return Demand(rows=+rows)

    def step(self, chunks: Iterable[SequenceChunk]) -> Demand:
        """What a step of these chunks needs."""
        total = Demand()
        for chunk in chunks:
            length = chunk.state.length + len(chunk)
            rows = +Counter(self._store.missing(chunk.state, length))
            total += Demand(len(chunk), 1, rows)
        return total

    def refusal(self, cost: Demand) -> SalaError | None:
        """Why a demand cannot be met now; None if it can.

        RequestError for more than a step has at any time, MemoryBudgetError for pages and slots
        that others hold. Rows that the prefix cache would release count as free.
        """
        limits = self._limits
        if cost.tokens > limits.step_tokens or cost.sequences > limits.batch:
            return too_large(cost.sequences, cost.tokens, limits)
        for name, count in cost.rows.items():
            pool = self._store.pool(name)
            if count > pool.available:
                return MemoryBudgetError(
                    f"{count} {name} are needed and {pool.available} are free",
                    expected=f"at most {pool.count} in use at a time",
                    fix="close sequences that are done, or load with more memory, context or batch",
                )
        return None


def too_large(sequences: int, tokens: int, limits: Limits) -> RequestError:
    """The refusal of a step with so many sequences and tokens."""
    return RequestError(
        f"a step of {sequences} sequences with {tokens} tokens is requested",
        expected=f"1 to {limits.batch} sequences, at most {limits.step_tokens} tokens",
        fix="load with a larger batch or chunk",
    )
