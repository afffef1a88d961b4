"""A weight that is stored transposed, or as a part of a larger tensor."""

import os
from dataclasses import dataclass
from math import prod

import numpy as np

from sala_compile.sala_ir.checkpoint.safetensors_file import CheckpointTensor, read_into


@dataclass(frozen=True, slots=True)
class TensorSlice(CheckpointTensor):
    """Rows `first` and on of a tensor of `stored` shape; columns of it if it is transposed.

    `shape` is that of the weight: [rows, columns], or [rows] of a vector.
    """

    stored: tuple[int, ...]
    first: int
    transposed: bool

    @property
    def size(self) -> int:
        """Bytes of the whole stored tensor: what a digest reads."""
        return prod(self.stored) * self.dtype.itemsize

    def read(self, file: int, start: int, stop: int) -> np.ndarray:
        """Rows [start, stop) from an open file descriptor, in memory of their own."""
        start, stop = self.first + start, self.first + stop
        if not self.transposed:
            return read_into(self, file, start, stop)
        count, (inputs, outputs) = stop - start, self.stored
        found = np.empty((inputs, count), self.dtype)
        step = self.dtype.itemsize
        for row in range(inputs):
            target = found[row].view(np.uint8).data
            position = self.begin + (row * outputs + start) * step
            if os.preadv(file, [target], position) != len(target):
                raise self.error("the file ends within the tensor", expected="the whole tensor")
        return np.ascontiguousarray(found.T)
