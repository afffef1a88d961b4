"""Weights that are stored as integers, in the form of `MatMulNBits` of onnxruntime.

The integers are those of the checkpoint, or that `--quantize` rounds to: of 4 bits two in a byte,
the first in its low half; of 5, 6 and 8 bits one in a byte.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto
from xdsl.ir import SSAValue

from sala_compile.codegen.onnx_export.element import OnnxElement
from sala_compile.codegen.onnx_export.initializer import Initializer, Pieces
from sala_compile.codegen.weights.expressions import packed_rows
from sala_compile.codegen.weights.finite import require_scales
from sala_compile.runtime.common.safetensors_format import TensorSpec
from sala_compile.runtime.errors import CompileError
from sala_compile.sala_ir.checkpoint.integers import Integers
from sala_compile.sala_ir.dialect import weight_shape, weight_type
from sala_compile.sala_ir.dialect.weight_storage import ZeroKind
from sala_compile.sala_ir.interpreter.weight_rows import RowSource


@dataclass(frozen=True, slots=True)
class IntegerWeight:
    """Names and sizes of a weight [rows, columns] of integers, `group` of which share a scale.

    `codes` uint8 [rows, groups, bytes of a group], `scales` [rows, groups] of `element`, `zeros`
    uint8 [rows, bytes], absent where the zero is the middle of the `bits` that a code takes, and
    `minima` [rows, groups] where integers count from a minimum.
    """

    rows: int
    columns: int
    group: int
    bits: int
    element: OnnxElement
    codes: str
    scales: str
    zeros: str = ""
    minima: str = ""

    @property
    def groups(self) -> int:
        """Groups of a row; the last one may be filled up."""
        return -(-self.columns // self.group)


def integer_weight(
    name: str, weight: SSAValue, element: OnnxElement
) -> tuple[IntegerWeight, list[Initializer]]:
    """A weight and its tensors. Scales that need more than float16 are float32."""
    encoding, (rows, columns) = weight_type(weight).encoding, weight_shape(weight)
    bits, group = (4 if encoding.bits == 4 else 8), encoding.group.data
    if group & (group - 1):
        raise CompileError(
            f"the weight has groups of {group} columns",
            where=f"--emit onnx: {name}",
            expected="a power of two, which MatMulNBits wants",
            fix="leave the integers out: name a checkpoint of floats",
        )
    wide = encoding.super_block.data > 0 or element is OnnxElement.BFLOAT16
    kept = OnnxElement.FLOAT32 if wide else element
    groups = -(-columns // group)
    stores_zeros = encoding.bits != bits or encoding.zeros.data is not ZeroKind.MIDDLE
    found = IntegerWeight(
        rows,
        columns,
        group,
        bits,
        kept,
        f"{name}.codes",
        f"{name}.scales",
        f"{name}.zeros" if stores_zeros else "",
        f"{name}.minima" if encoding.has_minima else "",
    )
    per_byte = 8 // bits

    def codes(integers: Integers) -> np.ndarray:
        return _packed(integers.codes, bits)

    def zeros(integers: Integers) -> np.ndarray:
        return _packed(integers.zeros, bits)

    def tensor(
        label: str, kind: str, shape: tuple[int, ...], of: Callable[[Integers], np.ndarray]
    ) -> Initializer:
        number = TensorProto.UINT8 if kind == "U8" else kept.tensor_type
        return Initializer(TensorSpec(label, kind, shape), number, _pieces(weight, of))

    tensors = [
        tensor(found.codes, "U8", (rows, groups, group // per_byte), codes),
        tensor(found.scales, kept.stored, (rows, groups), _part(0, kept)),
    ]
    if found.zeros:
        tensors.append(tensor(found.zeros, "U8", (rows, -(-groups // per_byte)), zeros))
    if found.minima:
        tensors.append(tensor(found.minima, kept.stored, (rows, groups), _part(1, kept)))
    return found, tensors


def _pieces(weight: SSAValue, of: Callable[[Integers], np.ndarray]) -> Pieces:
    def pieces(source: RowSource) -> Iterator[np.ndarray]:
        for block in packed_rows(weight, source).blocks():
            require_scales(block, weight, source)
            yield of(block)

    return pieces


def _part(index: int, element: OnnxElement) -> Callable[[Integers], np.ndarray]:
    """The scales, or the minima, of blocks of rows."""
    return lambda integers: integers.group_scales()[:, :, index].astype(element.dtype)


def _packed(codes: np.ndarray, bits: int) -> np.ndarray:
    """Codes of 4 bits two in a byte, an odd row filled up with 0; others as they are."""
    if bits == 8:
        return codes
    whole = np.pad(codes, ((0, 0), (0, codes.shape[1] % 2)))
    return whole[:, 0::2] | (whole[:, 1::2] << 4)
