"""The weights of an exported model: which there are, under which names."""

from collections.abc import Iterator

import numpy as np
from xdsl.ir import Operation, SSAValue

from sala_compile.codegen.onnx_export.element import OnnxElement
from sala_compile.codegen.onnx_export.initializer import Initializer, Pieces
from sala_compile.codegen.onnx_export.integer_weight import IntegerWeight, integer_weight
from sala_compile.codegen.weights.expressions import packed_rows
from sala_compile.codegen.weights.finite import require_finite
from sala_compile.runtime.common.safetensors_format import TensorSpec
from sala_compile.runtime.errors import CompileError
from sala_compile.sala_ir.dialect import QuantizeWeightOp, WeightOp, weight_shape
from sala_compile.sala_ir.interpreter.weight_rows import RowSource


class ExportedWeights:
    """Gives weights of the graph their names and remembers how they are stored."""

    def __init__(self, element: OnnxElement) -> None:
        self._element = element
        self._plain: dict[SSAValue, str] = {}
        self._integers: dict[SSAValue, IntegerWeight] = {}
        self.tensors: list[Initializer] = []

    def plain(self, weight: SSAValue) -> str:
        """The name of a weight of the element type."""
        if weight not in self._plain:
            element, name = self._element, _name(weight)
            spec = TensorSpec(name, element.stored, weight_shape(weight))
            pieces = _plain_pieces(weight, element.dtype)
            self.tensors.append(Initializer(spec, element.tensor_type, pieces))
            self._plain[weight] = name
        return self._plain[weight]

    def integers(self, weight: SSAValue) -> IntegerWeight:
        """A weight in an integer encoding."""
        if weight not in self._integers:
            _require_stored(weight)
            found, tensors = integer_weight(_name(weight), weight, self._element)
            self.tensors.extend(tensors)
            self._integers[weight] = found
        return self._integers[weight]

    @property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """Bits and columns of each weight of integers, which its tensors do not tell."""
        return {_name(each): (found.bits, found.columns) for each, found in self._integers.items()}


def _name(weight: SSAValue) -> str:
    """That of the tensor in the checkpoint; of what is computed, of its tensors and operations."""
    op = weight.owner
    assert isinstance(op, Operation), "a weight is made by an operation"
    match op:
        case WeightOp():
            return op.tensor_name.data
        case QuantizeWeightOp():
            return _name(op.weight)
        case _:
            return f"{op.name.removeprefix('sala.')}({','.join(map(_name, op.operands))})"


def _require_stored(weight: SSAValue) -> None:
    """Refuse integers of rows that are cut out of a tensor: the file would not have its name."""
    op = weight.owner
    made = op.weight.owner if isinstance(op, QuantizeWeightOp) else op
    if not isinstance(made, WeightOp):
        assert isinstance(made, Operation), "a weight is made by an operation"
        raise CompileError(
            "integers of a part of a tensor have no form in ONNX",
            where=f"--emit onnx --quantize: {_name(weight)}",
            expected="whole tensors of the checkpoint",
            fix="leave --quantize out",
        )


def _plain_pieces(weight: SSAValue, dtype: np.dtype) -> Pieces:
    def pieces(source: RowSource) -> Iterator[np.ndarray]:
        for block in packed_rows(weight, source).blocks():
            with np.errstate(over="ignore"):
                piece = np.ascontiguousarray(block, dtype)
            require_finite(piece, weight, source)
            yield piece

    return pieces
