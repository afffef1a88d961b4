"""Sizes as polynomials of symbols that are known at load."""

from collections.abc import Mapping
from enum import StrEnum
from math import prod

from pydantic import Field

from sala_compile.runtime.artifact.format_model import Frozen


class Symbol(StrEnum):
    """A size that is chosen when a model is loaded; every group of pages adds two more."""

    TOKENS = "tokens"
    """New tokens of one step."""
    SEQUENCES = "sequences"
    """Sequences of one step."""
    SLOTS = "slots"
    """Sequences that live at the same time: rows of the page tables and recurrent states."""
    LOGIT_ROWS = "logit_rows"
    """Rows of one run of the logits phase."""
    PAGES = "pages"
    """Pages of the smallest kind of all sequences."""
    SEQUENCE_PAGES = "sequence_pages"
    """Pages of the smallest kind of the longest sequence."""
    WORKERS = "workers"
    """Threads that share the items of a kernel."""


Symbols = Mapping[str, int]
"""A value for every symbol."""


class Polynomial(Frozen):
    """A sum of `coefficient * symbol * symbol ...`; a term without symbols is a constant."""

    terms: tuple[tuple[int, tuple[str, ...]], ...] = Field(min_length=1)

    def evaluate(self, symbols: Symbols) -> int:
        """The value for the given sizes."""
        return sum(factor * prod(symbols[name] for name in names) for factor, names in self.terms)


Dim = int | Polynomial


def evaluate(dim: Dim, symbols: Symbols) -> int:
    """The value of a dim for the given sizes."""
    return dim if isinstance(dim, int) else dim.evaluate(symbols)


def dim_of(symbol: str, factor: int = 1, constant: int = 0) -> Polynomial:
    """The affine dim `factor * symbol + constant`."""
    terms: tuple[tuple[int, tuple[str, ...]], ...] = ((factor, (symbol,)),)
    return Polynomial(terms=(*terms, (constant, ())) if constant else terms)
