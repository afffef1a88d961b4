"""Weights in the kernels' own layouts, packed a few rows at a time.

Panel layout of a weight [N, K]: [Np/rows][Kp/p][rows][p], N padded with zero rows to whole
panels, K with zeros to a multiple of 16, p elements that share 32 bits. Row-major: the last
dimension padded with zeros to a multiple of 16. Integers: see `codegen.layouts.encodings`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from xdsl.ir import Operation, SSAValue

from sala_compile.codegen.layouts.encodings import WeightPart, integer_blocks, weight_parts
from sala_compile.codegen.layouts.integer_panels import panel_codes, panel_groups
from sala_compile.codegen.layouts.padding import padded
from sala_compile.codegen.layouts.panels import pack_panels
from sala_compile.codegen.weights.expressions import Measure, numpy_element, packed_rows
from sala_compile.codegen.weights.finite import require_finite, require_scales
from sala_compile.runtime.artifact import ElementType
from sala_compile.runtime.common.safetensors_format import TensorSpec
from sala_compile.sala_ir.checkpoint.integers import Integers
from sala_compile.sala_ir.dialect.base import weight_type
from sala_compile.sala_ir.dialect.types import WeightType
from sala_compile.sala_ir.dialect.weight_storage import LayoutKind
from sala_compile.sala_ir.interpreter.weight_rows import RowSource

PIECE_BYTES = 16 << 20
"""Bytes of a weight that are in memory at a time, about."""
ROUNDING_BYTES = 16
"""Bytes of a value while it is rounded to an integer, in float64."""


@dataclass(frozen=True, slots=True)
class PackedWeight:
    """One stored weight: its name, the expression that gives its rows, and its layout's type.

    `readers` are the kinds of targets whose kernels read it.
    """

    name: str
    rows: SSAValue
    type: WeightType
    readers: tuple[str, ...] = ()

    @property
    def panel_rows(self) -> int:
        """Rows of a panel; 0 for row-major."""
        return self.type.layout.panel_rows.data

    @property
    def layout(self) -> str:
        """The layout as the manifest names it."""
        kind = self.type.layout.kind.data
        return f"{kind}{self.panel_rows}" if self.panel_rows else kind

    @property
    def parts(self) -> tuple[WeightPart, ...]:
        """The stored tensors: one, or integers with their scales."""
        return weight_parts(self.type)

    @property
    def specs(self) -> tuple[TensorSpec, ...]:
        """The tensors as the weight file's header names them."""
        return tuple(part.spec(self.name) for part in self.parts)

    @property
    def nbytes(self) -> int:
        """Bytes of all stored tensors, padding included."""
        return sum(spec.nbytes for spec in self.specs)

    @property
    def element(self) -> ElementType:
        """Element type of a plain weight as the kernels see it."""
        return self._plain.element

    @property
    def shape(self) -> tuple[int, ...]:
        """The stored shape of a plain weight, padding included."""
        return self._plain.shape

    def codes(self, integers: Integers) -> np.ndarray:
        """The stored codes of some whole panels, or of the last rows."""
        if self.is_blocked:
            return integer_blocks(self.type).pack_codes(integers.codes)
        return panel_codes(integers, self.type.encoding.bits, self.panel_rows)

    def groups(self, values: np.ndarray) -> np.ndarray:
        """The stored scales or zeros of some whole panels, or of the last rows."""
        if self.is_blocked:
            return integer_blocks(self.type).pack_groups(values)
        return panel_groups(values, self.panel_rows)

    @property
    def is_blocked(self) -> bool:
        """Whether integers are in blocks, as GPUs read them."""
        return self.type.layout.kind.data == LayoutKind.BLOCK

    @property
    def _plain(self) -> WeightPart:
        (part,) = self.parts
        return part


def packed_weight(name: str, value: SSAValue) -> PackedWeight:
    """The stored form of a weight operand of a kernel call, a `pack_weight` or taken as it is."""
    owner = value.owner
    is_packed = isinstance(owner, Operation) and owner.name == "sala.pack_weight"
    rows = owner.operands[0] if isinstance(owner, Operation) and is_packed else value
    return PackedWeight(name, rows, weight_type(value))


def pieces(
    weight: PackedWeight, source: RowSource, measure: Measure | None = None
) -> Iterator[tuple[str, np.ndarray]]:
    """The stored bytes of a weight in order, each piece with the suffix of its tensor.

    A piece has about `PIECE_BYTES`. `measure` receives what is rounded to integers on the way.
    """
    if weight.type.encoding.is_plain:
        return (("", piece) for piece in _plain_pieces(weight, source))
    return _integer_pieces(weight, source, measure)


def _plain_pieces(weight: PackedWeight, source: RowSource) -> Iterator[np.ndarray]:
    rows, step = packed_rows(weight.rows, source), _rows_per_piece(weight)
    last = rows.shape[0]
    for start in range(0, last, step):
        with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is reported by name
            piece = np.ascontiguousarray(rows.read(start, min(start + step, last)))
        require_finite(piece, weight.rows, source)
        bits = piece.view(weight.element.numpy)
        yield pack_panels(bits, weight.panel_rows) if weight.panel_rows else _padded(bits)


def _integer_pieces(
    weight: PackedWeight, source: RowSource, measure: Measure | None
) -> Iterator[tuple[str, np.ndarray]]:
    """The codes as they are read; scales and zeros, which are small, after them."""
    rows, encoding = packed_rows(weight.rows, source, measure), weight.type.encoding
    step = _rows_per_piece(weight)
    groups: dict[str, list[np.ndarray]] = {name: [] for name in encoding.parts if name != "codes"}
    for start in range(0, rows.shape[0], step):
        with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is reported by name
            integers = rows.read(start, min(start + step, rows.shape[0]))
        require_scales(integers, weight.rows, source)
        for name, found in groups.items():
            found.append(weight.groups(getattr(integers, name)))
        yield "codes", weight.codes(integers)
    yield from ((name, np.concatenate(found)) for name, found in groups.items())


def _rows_per_piece(weight: PackedWeight) -> int:
    shape = weight.type.get_shape()
    if len(shape) == 1:
        return shape[0]
    item = numpy_element(weight.type.element_type).itemsize
    row_bytes = padded(shape[1]) * (item if weight.type.encoding.is_plain else ROUNDING_BYTES)
    unit = weight.panel_rows or 1
    return max(1, PIECE_BYTES // (row_bytes * unit)) * unit


def _padded(bits: np.ndarray) -> np.ndarray:
    missing = padded(bits.shape[-1]) - bits.shape[-1]
    return np.pad(bits, [(0, 0)] * (bits.ndim - 1) + [(0, missing)]) if missing else bits
