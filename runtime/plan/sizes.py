"""The sizes that are chosen at load, and the symbols of the program that follow from them."""

from dataclasses import dataclass, replace

from sala_compile.runtime.artifact.dims import Symbol, Symbols
from sala_compile.runtime.artifact.state_pools import Paging, columns_of, pages_of
from sala_compile.runtime.errors import RequestError

LIVE_SEQUENCES = "live_sequences"
"""The runtime's own symbol: sequences alive at a time. Slots are for snapshots as well."""
LOGIT_ROWS = 64
"""Rows of logits computed at a time when all positions are wanted."""
MAX_CONTEXT = 2**31 - 1
"""Tokens of a sequence, or of a step: positions and lengths are int32."""
MAX_SEQUENCES = 1 << 16
"""Sequences of a step, or alive at a time."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes that a loader requests.

    `context`: tokens of the longest sequence; `batch`: sequences of one step; `chunk`: new tokens
    of one step; `sequences`: those alive at a time; `workers`: threads. `pages` are for
    batch x context, and one for each snapshot, unless given; for one context and the snapshots
    if they are `shared`. `snapshots` are recurrent states kept next to the sequences',
    `checkpoints` those between the drafted tokens of one step.
    """

    context: int
    batch: int
    chunk: int
    sequences: int
    workers: int
    pages: int | None = None
    snapshots: int = 0
    checkpoints: int = 0
    shared: bool = False

    def check(self) -> None:
        """Raise RequestError for sizes that no memory makes possible."""
        check_tokens("context", self.context)
        check_tokens("chunk", self.chunk)
        for name, count in (("batch", self.batch), ("sequences", self.sequences)):
            if count > MAX_SEQUENCES:
                raise RequestError(
                    f"{name} is {count}", where=name, expected=f"at most {MAX_SEQUENCES}"
                )

    def symbols(self, paging: Paging) -> Symbols:
        """The value of every symbol."""
        own_pages = _quotient(self.context, paging.page_tokens)
        default = (1 if self.shared else self.batch) * own_pages + self.snapshots
        pages = default if self.pages is None else self.pages
        slots = self.sequences + self.snapshots + self.checkpoints
        tokens = max(self.chunk, self.batch)
        return {
            Symbol.TOKENS: tokens,
            Symbol.SEQUENCES: self.batch,
            Symbol.SLOTS: slots,
            LIVE_SEQUENCES: self.sequences,
            Symbol.LOGIT_ROWS: max(self.batch, min(tokens, LOGIT_ROWS)),
            Symbol.PAGES: pages,
            Symbol.SEQUENCE_PAGES: own_pages,
            Symbol.WORKERS: self.workers,
            **self._group_sizes(paging, pages, slots),
        }

    def with_context(self, context: int) -> "Sizes":
        """The same sizes for another context."""
        return replace(self, context=context, pages=None)

    def with_batch(self, batch: int) -> "Sizes":
        """The same sizes for another batch, without further live sequences."""
        return replace(self, batch=batch, sequences=batch, pages=None)

    def _group_sizes(self, paging: Paging, pages: int, slots: int) -> dict[str, int]:
        """Pages of every group, and of its longest sequence.

        Enough for every way to share `pages` of the smallest kind: of a larger kind one begun for
        each slot, and the full ones.
        """
        sizes: dict[str, int] = {}
        for name, group in paging.groups.items():
            ratio, own = group.tokens // paging.page_tokens, _quotient(self.context, group.tokens)
            larger = min(slots * own, min(slots, pages) + pages // ratio)
            sizes |= {pages_of(name): pages if ratio == 1 else larger, columns_of(name): own}
        return sizes


def check_tokens(name: str, count: int) -> None:
    """Raise RequestError for a number of tokens that positions cannot count."""
    if count > MAX_CONTEXT:
        raise RequestError(
            f"{name} is {count} tokens",
            where=name,
            expected=f"at most {MAX_CONTEXT}: positions are 32-bit integers",
        )


def _quotient(tokens: int, unit: int) -> int:
    return -(-tokens // unit)
