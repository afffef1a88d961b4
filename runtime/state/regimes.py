"""The regime in which each token of a sequence was computed."""

from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from sala_compile.runtime.artifact import Manifest

DENSE_LENGTH = "sparse_config.dense_len"
"""The size of a model that says from which length of a call on its sparse layers are sparse."""


class Regime(StrEnum):
    """What the sparse layers read: every block, or the chosen ones."""

    DENSE = "dense"
    SPARSE = "sparse"


@dataclass(frozen=True, slots=True)
class RegimeRule:
    """The regime of a call: sparse from a length of `first_sparse` tokens on, None for never."""

    first_sparse: int | None

    @classmethod
    def of(cls, manifest: Manifest) -> "RegimeRule":
        """The rule of an artifact."""
        if manifest.attention == "sparse":
            return cls(0)
        if manifest.attention == "dense":
            return cls(None)
        return cls(manifest.model.sizes.get(DENSE_LENGTH))

    def regime(self, call_length: int) -> Regime:
        """The regime of a call after which a sequence has `call_length` tokens."""
        sparse = self.first_sparse is not None and call_length >= self.first_sparse
        return Regime.SPARSE if sparse else Regime.DENSE

    def allows(self, pieces: "Pieces", length: int) -> bool:
        """Whether calls can have made a text of `length` tokens of these pieces.

        A call is at least as long as what it leaves, and can have been longer before it was cut.
        """
        ends = [end for end, _ in pieces.ends]
        regimes = [regime for _, regime in pieces.ends]
        ascending = ends == sorted(set(ends)) and ends[-1:] == [length] and ends[0] > 0
        turning = all(one is not other for one, other in pairwise(regimes))
        possible = all(
            self.first_sparse is not None
            if regime is Regime.SPARSE
            else self.regime(end) is Regime.DENSE
            for end, regime in pieces.ends
        )
        return ascending and turning and possible


@dataclass(frozen=True, slots=True)
class Pieces:
    """The regimes of a text: `ends` holds for each piece its end in tokens and its regime."""

    ends: tuple[tuple[int, Regime], ...] = ()

    def grown(self, end: int, regime: Regime) -> "Pieces":
        """The text up to `end`, its new part in `regime`."""
        if self.ends and self.ends[-1][1] is regime:
            return Pieces((*self.ends[:-1], (end, regime)))
        return Pieces((*self.ends, (end, regime)))

    def cut(self, length: int) -> "Pieces":
        """The first `length` tokens."""
        kept: list[tuple[int, Regime]] = []
        for end, regime in self.ends:
            if kept and kept[-1][0] == length:
                break
            if length:
                kept.append((min(end, length), regime))
        return Pieces(tuple(kept))
