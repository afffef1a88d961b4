"""The matrices of a GGUF file as integers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sala_compile.sala_ir.checkpoint.checkpoint import Checkpoint
from sala_compile.sala_ir.checkpoint.gguf.block_integers import BLOCK_FORMATS
from sala_compile.sala_ir.checkpoint.gguf.stored_types import FLOATS, GgufTensor
from sala_compile.sala_ir.checkpoint.integers import Integers
from sala_compile.sala_ir.checkpoint.mixed_integers import MixedIntegers
from sala_compile.sala_ir.dialect.weight_storage import EncodingAttr

_ENTRIES = ("scale", "minimum")


@dataclass(frozen=True, slots=True)
class ExactTensor:
    """One weight [N, K] whose blocks become our integers, each as it is."""

    checkpoint: Checkpoint
    tensor: GgufTensor

    @property
    def encoding(self) -> EncodingAttr:
        """The encoding that holds the type of the file."""
        return BLOCK_FORMATS[self.tensor.element].encoding

    @property
    def members(self) -> tuple[str, ...]:
        """The tensor itself."""
        return (self.tensor.name,)

    def check(self) -> None:
        """Scales are looked at when they are read."""

    def whole(self) -> Integers:
        """All rows; CheckpointError for a scale that is not a finite number."""
        return self.rows(0, self.tensor.shape[0])

    def rows(self, start: int, stop: int) -> Integers:
        """Rows [start, stop); CheckpointError for a scale or minimum that is not finite."""
        file = self.checkpoint.descriptor(self.tensor.path)
        stored = self.tensor.blocks(file, start, stop)
        found = BLOCK_FORMATS[self.tensor.element].integers(stored)
        wrong = np.argwhere(~np.isfinite(found.scales))
        if len(wrong):
            row, place = wrong[0]
            block, entry = divmod(int(place), self.encoding.entries)
            raise self.tensor.error(
                f"the {_ENTRIES[entry]} of row {start + row}, block {block} is "
                f"{found.scales[row, place]}",
                expected="finite scales and minima",
            )
        return found


class GgufIntegers(MixedIntegers):
    """Weights of a GGUF file."""

    def __init__(self, checkpoint: Checkpoint, expected: Mapping[str, tuple[int, ...]]) -> None:
        """Take the matrices that are integers; one of another shape is left to a later check."""
        found = [
            tensor
            for name, shape in expected.items()
            if isinstance(tensor := checkpoint.tensors.get(name), GgufTensor)
            and tensor.element not in FLOATS
            and tensor.shape == shape
        ]
        kinds = sorted({tensor.element for tensor in found})
        exact = {t.name: ExactTensor(checkpoint, t) for t in found if t.element in BLOCK_FORMATS}
        others = [(t, t.element) for t in found if t.element not in BLOCK_FORMATS]
        read = ", ".join((*FLOATS, *BLOCK_FORMATS))
        super().__init__(f"GGUF {', '.join(kinds)}", checkpoint, exact, others, read)
