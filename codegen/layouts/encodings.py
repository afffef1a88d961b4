"""The tensors that a stored weight consists of, and their bytes: plain values, or integers.

Integers come in panels of `rows` weight rows, so that one layout serves decode, which reads
panel by panel, and prefill, which first expands a panel. The columns are padded to whole groups.
Codes: uint16 [panels][K / (2 n)][rows][2], each holding n integers of one row, 4 of 4 bits or 2 of
8 bits: those of columns 2 j + lane for j = 0 .. n - 1 from the low bits up, so that a shift and a
mask give pairs of neighbours. Integers of 5 and 6 bits: their low 4 bits so, and after each 32 or
16 columns a line of their high bits (`codegen.layouts.integer_panels`). Scales: float16
[panels][K / group][rows], with minima twice as many, a scale and a minimum in turn; stored zeros:
uint8, alike. With super-blocks, factors: int8, as scales would be, and the scales are those of
super-blocks. Rows that pad the last panel have scales of 0. For GPUs panels are cut into blocks:
see `codegen.layouts.integer_blocks`.
"""

from dataclasses import dataclass

from sala_compile.codegen.layouts.integer_blocks import IntegerBlocks
from sala_compile.codegen.layouts.integer_panels import IntegerPanels
from sala_compile.codegen.layouts.padding import padded, pair_of
from sala_compile.runtime.artifact import ElementType
from sala_compile.runtime.common.safetensors_format import TensorSpec
from sala_compile.sala_ir.dialect.types import WeightType
from sala_compile.sala_ir.dialect.weight_storage import LayoutKind


@dataclass(frozen=True, slots=True)
class WeightPart:
    """One stored tensor of a weight.

    `suffix` is "" where it is alone; `element` is what kernels see, `stored` what the header of
    a safetensors file says.
    """

    suffix: str
    element: ElementType
    stored: str
    shape: tuple[int, ...]

    def spec(self, name: str) -> TensorSpec:
        """The tensor in a file, for the weight `name`."""
        return TensorSpec(part_name(name, self.suffix), self.stored, self.shape)


def part_name(name: str, suffix: str) -> str:
    """The name of one tensor of a state or of a weight: `layers.0.kv_cache.k`."""
    return f"{name}.{suffix}" if suffix else name


def weight_parts(kind: WeightType) -> tuple[WeightPart, ...]:
    """The tensors of a weight of this type."""
    return (_plain_part(kind),) if kind.encoding.is_plain else _integer_parts(kind)


def value_type(kind: WeightType) -> str:
    """The element type of the values, as the manifest names it."""
    return "bfloat16" if pair_of(kind) == 2 else "float32"


def integer_panels(kind: WeightType) -> IntegerPanels:
    """How a weight of integers in the panel layout is stored."""
    (count, columns), encoding = kind.get_shape(), kind.encoding
    return IntegerPanels(
        count,
        columns,
        encoding.bits,
        encoding.group.data,
        zeros=encoding.stores_zeros,
        minima=encoding.has_minima,
        super_block=encoding.super_block.data,
        panel_rows=kind.layout.panel_rows.data,
    )


def integer_blocks(kind: WeightType) -> IntegerBlocks:
    """How a weight in the block layout is stored."""
    (count, columns), encoding = kind.get_shape(), kind.encoding
    return IntegerBlocks(
        count,
        columns,
        encoding.bits,
        encoding.group.data,
        zeros=encoding.stores_zeros,
        minima=encoding.has_minima,
        super_block=encoding.super_block.data,
    )


def _plain_part(kind: WeightType) -> WeightPart:
    pair, shape = pair_of(kind), kind.get_shape()
    stored = (*shape[:-1], padded(shape[-1]))
    if kind.layout.kind.data == LayoutKind.PANEL:
        rows = kind.layout.panel_rows.data
        stored = (-(-shape[0] // rows), padded(shape[1]) // pair, rows, pair)
    element, name = (ElementType.UINT16, "BF16") if pair == 2 else (ElementType.FLOAT32, "F32")
    return WeightPart("", element, name, stored)


def _integer_parts(kind: WeightType) -> tuple[WeightPart, ...]:
    assert kind.layout.panel_rows.data, "integers are stored in panels"
    if kind.layout.kind.data == LayoutKind.BLOCK:
        shapes = integer_blocks(kind)
        codes = (ElementType.INT32, "I32", shapes.codes_shape)
    else:
        shapes = integer_panels(kind)
        codes = (ElementType.UINT16, "U16", shapes.codes_shape)
    stored = {
        "codes": codes,
        "scales": (ElementType.UINT16, "F16", shapes.scales_shape),
        "zeros": (ElementType.UINT8, "U8", shapes.groups_shape),
        "factors": (ElementType.INT8, "I8", shapes.groups_shape),
    }
    return tuple(WeightPart(name, *stored[name]) for name in kind.encoding.parts)
