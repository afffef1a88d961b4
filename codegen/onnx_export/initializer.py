"""A tensor whose bytes are in the file of weights."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from sala_compile.runtime.common.safetensors_format import TensorSpec
from sala_compile.sala_ir.interpreter.weight_rows import RowSource

Pieces = Callable[[RowSource], Iterator[np.ndarray]]
"""The bytes of a tensor in order, from where the weights come from."""


@dataclass(frozen=True, slots=True)
class Initializer:
    """An initializer: its name, type and shape in the file, its type in ONNX, its bytes."""

    spec: TensorSpec
    tensor_type: int
    pieces: Pieces
