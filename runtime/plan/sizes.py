"""What is chosen at load, and the symbols of the program that follow from it."""

from dataclasses import dataclass, replace

from runtime.artifact.dims import Symbol, Symbols
from runtime.artifact.program import Paging

LOGIT_ROWS = 64
"""Rows of logits computed at a time when all positions are wanted."""
MAX_CONTEXT = 2**31 - 1
"""Positions are int32."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """`context`: tokens of the longest sequence; `batch`: sequences of one step; `chunk`: new
    tokens of one step; `sequences`: live ones; `workers`: threads. `pages` and
    `compressed_pages` are for batch x context unless given.
    """

    context: int
    batch: int
    chunk: int
    sequences: int
    workers: int
    pages: int | None = None
    compressed_pages: int | None = None

    def symbols(self, paging: Paging) -> Symbols:
        """The value of every symbol."""
        pages = _quotient(self.context, paging.page_tokens)
        compressed = _quotient(self.context, paging.compressed_page_tokens)
        tokens = max(self.chunk, self.batch)
        own = self.pages, self.compressed_pages
        return {
            Symbol.TOKENS: tokens,
            Symbol.SEQUENCES: self.batch,
            Symbol.SLOTS: self.sequences,
            Symbol.LOGIT_ROWS: max(self.batch, min(tokens, LOGIT_ROWS)),
            Symbol.PAGES: self.batch * pages if own[0] is None else own[0],
            Symbol.COMPRESSED_PAGES: self.batch * compressed if own[1] is None else own[1],
            Symbol.SEQUENCE_PAGES: pages,
            Symbol.SEQUENCE_COMPRESSED_PAGES: compressed,
            Symbol.WORKERS: self.workers,
        }

    def with_context(self, context: int) -> "Sizes":
        """The same sizes for another context."""
        return replace(self, context=context, pages=None, compressed_pages=None)

    def with_batch(self, batch: int) -> "Sizes":
        """The same sizes for another batch; at least as many sequences live."""
        return replace(
            self,
            batch=batch,
            sequences=max(batch, self.sequences),
            pages=None,
            compressed_pages=None,
        )


def _quotient(tokens: int, unit: int) -> int:
    return -(-tokens // unit)
