"""Element types of an exported model."""

from enum import StrEnum

import numpy as np
from onnx import TensorProto

from sala_compile.codegen.weights.expressions import BFLOAT16


class OnnxElement(StrEnum):
    """Element type of weights, activations, keys and values; recurrent states are float32."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"

    @property
    def tensor_type(self) -> int:
        """The type's number in ONNX."""
        return getattr(TensorProto, {"float32": "FLOAT"}.get(self.value, self.value.upper()))

    @property
    def dtype(self) -> np.dtype:
        """The type in NumPy."""
        return BFLOAT16 if self is OnnxElement.BFLOAT16 else np.dtype(self.value)

    @property
    def stored(self) -> str:
        """The type's name in a safetensors header."""
        return {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}[self.value]

    @property
    def is_narrow(self) -> bool:
        """Whether float32 is wider: what is computed in float32 is cast there and back."""
        return self is not OnnxElement.FLOAT32
