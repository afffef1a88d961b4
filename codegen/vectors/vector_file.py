"""The tensors that golden vectors store."""

from collections.abc import Iterator

import numpy as np

from sala_compile.runtime.artifact import narrow_bfloat16
from sala_compile.runtime.artifact.golden import GoldenType
from sala_compile.runtime.common.safetensors_format import TensorSpec

_STORED: dict[str, str] = {"float32": "F32", "bfloat16": "BF16", "int32": "I32"}


class TensorStore:
    """Named tensors in the order in which they were added."""

    def __init__(self) -> None:
        self._tensors: dict[str, tuple[TensorSpec, np.ndarray]] = {}

    def add(self, name: str, values: np.ndarray, dtype: GoldenType) -> str:
        """Store values (real numbers for bfloat16) under a name, if it is new; the name."""
        if name in self._tensors:
            return name
        stored = (
            narrow_bfloat16(values.astype(np.float32))
            if dtype == "bfloat16"
            else np.ascontiguousarray(values, dtype)
        )
        self._tensors[name] = (TensorSpec(name, _STORED[dtype], stored.shape), stored)
        return name

    @property
    def specs(self) -> list[TensorSpec]:
        """What a file of these tensors holds."""
        return [spec for spec, _ in self._tensors.values()]

    def __iter__(self) -> Iterator[tuple[str, np.ndarray]]:
        """Names and values as stored."""
        return ((name, values) for name, (_, values) in self._tensors.items())
