"""Matrices of a file as integers: as they are, or rounded again where no encoding holds them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

from sala_compile.runtime.common.files import shown
from sala_compile.runtime.errors import CheckpointError
from sala_compile.sala_ir.checkpoint.checkpoint import Checkpoint
from sala_compile.sala_ir.checkpoint.integers import Integers
from sala_compile.sala_ir.checkpoint.quantized import PublishedIntegers
from sala_compile.sala_ir.checkpoint.quantized.integer_groups import IntegerTensor
from sala_compile.sala_ir.checkpoint.rounded_tensor import RoundedTensor
from sala_compile.sala_ir.checkpoint.safetensors_file import CheckpointTensor
from sala_compile.sala_ir.dialect.weight_storage import EncodingAttr, EncodingKind

ENDS = ("model.embed_tokens.weight", "lm_head.weight")
_FINE = EncodingAttr(EncodingKind.INT8, 128)
"""What the embedding and the head are rounded to, as `--quantize` does with a head."""


class RowsOfIntegers(IntegerTensor, Protocol):
    """A weight whose integers are read a few rows at a time."""

    def rows(self, start: int, stop: int) -> Integers:
        """Rows [start, stop)."""
        ...


class MixedIntegers(PublishedIntegers):
    """Weights read a few rows at a time, nothing is kept; `others` no encoding of ours holds.

    Each of the others comes with a name for what it is stored as; `expected` is what else it could
    be.
    """

    def __init__(
        self,
        scheme: str,
        checkpoint: Checkpoint,
        exact: Mapping[str, RowsOfIntegers],
        others: Sequence[tuple[CheckpointTensor, str]],
        expected: str,
    ) -> None:
        self._rows: dict[str, RowsOfIntegers] = dict(exact)
        super().__init__(scheme, self._rows)
        self._checkpoint, self._others, self._expected = checkpoint, others, expected

    @property
    def others(self) -> str:
        """The tensors that no encoding holds, such as `3 of IQ2_XXS`; empty if there is none."""
        counts = Counter(kind for _, kind in self._others)
        return ", ".join(f"{count} of {kind}" for kind, count in sorted(counts.items()))

    def round_others(self, encoding: EncodingAttr) -> None:
        """Round these to integers; those of embedding and head have 8 bits in any case."""
        for tensor, _ in self._others:
            kind = _FINE if tensor.name in ENDS else encoding
            self._rows[tensor.name] = RoundedTensor(self._checkpoint, tensor, kind, self.errors)
        if self._others:
            self.rounded = f"{self.others} rounded again to {encoding.label}"

    def refuse_others(self) -> None:
        """Raise CheckpointError if there are any."""
        if self._others:
            first, kind = self._others[0]
            raise CheckpointError(
                f"no kernel reads blocks of {kind} ({self.others})",
                where=f"{shown(first.path)}: {shown(first.name)}",
                expected=self._expected,
                fix="add --requantize int4-g32 (or int4-g128, int8), which rounds them again and "
                "reports the error, or --dtype float32, which holds them exactly",
            )

    def read(self, name: str, start: int, stop: int) -> Integers:
        """Rows [start, stop) of a weight."""
        return self._rows[name].rows(start, stop)
