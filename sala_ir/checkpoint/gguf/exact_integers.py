"""Blocks of integers that an encoding of ours holds as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sala_compile.sala_ir.checkpoint.checkpoint import Checkpoint
from sala_compile.sala_ir.checkpoint.gguf.stored_types import FLOATS, GgufTensor
from sala_compile.sala_ir.checkpoint.gguf.tensor_names import EMBEDDING as STORED_EMBEDDING
from sala_compile.sala_ir.checkpoint.gguf.tensor_names import NAMES
from sala_compile.sala_ir.checkpoint.integers import Integers
from sala_compile.sala_ir.checkpoint.quantized import PublishedIntegers
from sala_compile.sala_ir.dialect.weight_storage import EncodingAttr, EncodingKind

_GROUP = 32
_EXACT = {"Q4_0": EncodingKind.INT4, "Q8_0": EncodingKind.INT8}
"""Types of value scale * (integer - middle), in groups of 32 with a scale of float16."""
_NEVER = NAMES["llama"].of(STORED_EMBEDDING)
"""Rows are looked up in it: no kernel expands single rows of integers."""


@dataclass(frozen=True, slots=True)
class ExactTensor:
    """One weight [N, K] whose blocks become our integers, each as it is."""

    checkpoint: Checkpoint
    tensor: GgufTensor

    @property
    def encoding(self) -> EncodingAttr:
        """Groups of 32 around the middle of the range."""
        return EncodingAttr(_EXACT[self.tensor.element], _GROUP)

    @property
    def members(self) -> tuple[str, ...]:
        """The tensor itself."""
        return (self.tensor.name,)

    def check(self) -> None:
        """Scales are looked at when they are read."""

    def whole(self) -> Integers:
        """All rows; CheckpointError for a scale that is not a finite number."""
        file = self.checkpoint.descriptor(self.tensor.path)
        rows, columns = self.tensor.shape
        stored = self.tensor.blocks(file, 0, rows).reshape(rows, columns // _GROUP, -1)
        scales = np.ascontiguousarray(stored[:, :, :2]).view(np.float16)[:, :, 0]
        wrong = np.argwhere(~np.isfinite(scales))
        if len(wrong):
            row, group = wrong[0]
            raise self.tensor.error(
                f"the scale of row {row}, block {group} is {scales[row, group]}",
                expected="finite scales",
            )
        codes, middle = _codes(stored[:, :, 2:], self.encoding.bits)
        return Integers(
            codes.reshape(rows, columns), scales, np.full(scales.shape, middle, np.uint8)
        )


def exact_integers(
    checkpoint: Checkpoint, expected: Mapping[str, tuple[int, ...]]
) -> PublishedIntegers | None:
    """The matrices of a GGUF file that are stored as integers here too; None where there is none.

    A tensor of another shape than `expected` is left to the check of shapes.
    """
    found = {
        name: ExactTensor(checkpoint, tensor)
        for name, shape in expected.items()
        if isinstance(tensor := checkpoint.tensors.get(name), GgufTensor)
        and tensor.element in _EXACT
        and name != _NEVER
        and tensor.shape == shape
    }
    if not found:
        return None
    kinds = sorted({tensor.tensor.element for tensor in found.values()})
    return PublishedIntegers(f"GGUF {' and '.join(kinds)}", found)


def widened_note(checkpoint: Checkpoint, published: PublishedIntegers | None) -> tuple[str, ...]:
    """Which types are stored as floats, since no encoding of ours holds their integers."""
    kinds: dict[str, int] = {}
    for name, tensor in checkpoint.tensors.items():
        if tensor.element not in FLOATS and (published is None or name not in published):
            kinds[tensor.element] = kinds.get(tensor.element, 0) + 1
    if not kinds:
        return ()
    listed = ", ".join(f"{count} of {kind}" for kind, count in sorted(kinds.items()))
    return (
        f"tensors of the GGUF file that are stored as --dtype values: {listed} (float32 holds "
        "each value exactly, bfloat16 rounds it)",
    )


def _codes(stored: np.ndarray, bits: int) -> tuple[np.ndarray, int]:
    """Unsigned integers [N, groups, 32] of blocks without their scales, and the middle."""
    if bits == 8:
        return stored ^ np.uint8(0x80), 0x80
    return np.concatenate([stored & 15, stored >> 4], axis=2), 8
