"""The element types of GGUF that are read, and a tensor of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

from sala_compile.sala_ir.checkpoint.gguf.block_integers import BLOCK_FORMATS
from sala_compile.sala_ir.checkpoint.safetensors_file import (
    BFLOAT16,
    CheckpointTensor,
    read_into,
)

FLOATS = {
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": BFLOAT16,
}
OTHERS = (*("MXFP4", "IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S"),)
"""Types whose values the package gguf gives, and whose blocks are no integers of ours."""
READ = (*FLOATS, *BLOCK_FORMATS, *OTHERS)


@dataclass(frozen=True, slots=True)
class GgufTensor(CheckpointTensor):
    """A tensor of one of these types; what is read are its values, float32 from blocks.

    `head_rows` (0: none): the rows of a head, of which the file holds those of the first and of
    the second half in turn.
    """

    head_rows: int = 0

    @property
    def dtype(self) -> np.dtype:
        """The type of the values."""
        return FLOATS.get(self.element, FLOATS["F32"])

    @property
    def size(self) -> int:
        """Bytes of data in the file."""
        return self.shape[0] * self.row_bytes

    @property
    def row_bytes(self) -> int:
        """Bytes of one row in the file."""
        values, size = GGML_QUANT_SIZES[GGMLQuantizationType[self.element]]
        return math.prod(self.shape[1:]) * size // values

    @property
    def holds_values(self) -> bool:
        """Always: other types are refused when the file is opened."""
        return True

    def read(self, file: int, start: int, stop: int) -> np.ndarray:
        """Values of rows [start, stop), from an open file descriptor."""
        stored = self.blocks(file, start, stop)
        if self.element in FLOATS:
            return stored.view(self.dtype).reshape(stop - start, *self.shape[1:])
        if start == stop:  # the package takes no empty array
            return np.empty((0, *self.shape[1:]), self.dtype)
        return dequantize(stored, GGMLQuantizationType[self.element])

    def blocks(self, file: int, start: int, stop: int) -> np.ndarray:
        """Rows [start, stop) as they are stored, uint8 [rows, row_bytes], in the model's order."""
        step = self.head_rows or 1
        first, last = start // step * step, -(-stop // step) * step
        whole = CheckpointTensor(
            self.name, self.path, "U8", (self.shape[0], self.row_bytes), self.begin
        )
        found = read_into(whole, file, first, max(first, last))
        if self.head_rows:
            pairs = found.reshape(-1, step // 2, 2, self.row_bytes)
            found = pairs.swapaxes(1, 2).reshape(-1, self.row_bytes)
        return np.ascontiguousarray(found[start - first : stop - first])
