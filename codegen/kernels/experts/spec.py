"""What a kernel of experts is compiled for, and how one expert is a linear."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sala_compile.codegen.kernels.linear.cpu import spec as linear
from sala_compile.codegen.kernels.linear_integers.cpu import spec as integers
from sala_compile.codegen.kernels.operands import column_views, element, refuse_unless_float32
from sala_compile.codegen.kernels.spec import KernelSpec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.layouts.panels import PANEL_ROWS
from sala_compile.sala_ir.dialect.base import columns_of, encoding_of, weight_shape
from sala_compile.sala_ir.dialect.expert_kinds import ExpertActivation
from sala_compile.sala_ir.dialect.experts import ExpertDownOp, ExpertUpOp


class Part(StrEnum):
    """Which of the two products of an expert."""

    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Spec(KernelSpec):
    """Constants of one kernel.

    `experts` of which a token takes `chosen`; `rows` x `depth` are the weight of one, its rows a
    multiple of 64, and `width` the columns of one of a token: of y (up) or of x (down). `columns`
    are those of y. `weight` is the element of x; `bits` and what follows are as in
    `linear_integers`, 0 bits are values as they are.
    """

    part: Part
    experts: int
    chosen: int
    depth: int
    rows: int
    width: int
    columns: int
    weight: Element
    output: Element
    x_start: int
    x_pitch: int
    activation: ExpertActivation = ExpertActivation.SWIGLU
    limit: float = 0.0
    scale: float = 1.0
    gates_start: int = 0
    gates_pitch: int = 0
    residual_start: int = 0
    residual_pitch: int = 0
    bits: int = 0
    group: int = 0
    stores_zeros: bool = False
    has_minima: bool = False
    super_block: int = 0
    x_bits: int = 16

    @property
    def label(self) -> str:
        """The family, the sizes, the encoding and the element of x, for names."""
        sizes = f"{self.chosen}of{self.experts}_{self.depth}x{self.rows}"
        one = self.one
        stored = [one.encoding] if isinstance(one, integers.Spec) else []
        fused = [self.activation] if self.part is Part.UP else []
        fused += ["residual"] * bool(self.residual_pitch) + ["int8"] * (self.x_bits == 8)
        return "_".join([f"expert_{self.part}_{sizes}", *stored, self.weight, *fused])

    @property
    def one(self) -> linear.Spec | integers.Spec:
        """The linear that one expert is."""
        fields: dict[str, Any] = {
            "depth": self.depth,
            "rows": self.rows,
            "weight": self.weight,
            "output": self.output,
            "scale": 1.0,
            "bias": False,
            "swiglu": False,
            "extent": "tokens",
            "x_start": self.x_start,
            "x_pitch": self.x_pitch,
        }
        if not self.bits:
            return linear.Spec(**fields)
        return integers.Spec(
            **fields,
            bits=self.bits,
            group=self.group,
            stores_zeros=self.stores_zeros,
            has_minima=self.has_minima,
            super_block=self.super_block,
            x_bits=self.x_bits,
        )

    @property
    def panels(self) -> int:
        """Panels of an expert."""
        return self.rows // PANEL_ROWS


def describe(op: ExpertUpOp | ExpertDownOp, target: object) -> Spec | str:
    """Take experts of plain values or of integers; the down product gives floats."""
    encoding = encoding_of(op.weight)
    if encoding.is_plain and element(op.x) is not element(op.weight):
        return f"input is {element(op.x)}, weight {element(op.weight)}: they must be equal"
    fields: dict[str, Any] = {
        "experts": op.count.value.data,
        "chosen": columns_of(op.gates) if isinstance(op, ExpertDownOp) else _chosen(op),
        "depth": weight_shape(op.weight)[1],
        "rows": weight_shape(op.weight)[0] // op.count.value.data,
        "width": op.width,
        "columns": columns_of(op.result),
        "weight": element(op.x),
        "output": element(op.result),
        **column_views(x=op.x),
    }
    if isinstance(op, ExpertUpOp):
        if op.gate is not None:
            return "gate and up are not interleaved"
        fields |= {"part": Part.UP, "activation": op.activation.data, "limit": op.limit.value.data}
    else:
        refusal = refuse_unless_float32(gates=op.gates, residual=op.residual, result=op.result)
        if refusal:
            return refusal
        fields |= {"part": Part.DOWN, "scale": op.scale.value.data, **column_views(gates=op.gates)}
        if op.residual is not None:
            fields |= column_views(residual=op.residual)
    if not encoding.is_plain:
        fields |= {
            "bits": encoding.bits,
            "group": encoding.group.data,
            "stores_zeros": encoding.stores_zeros,
            "has_minima": encoding.has_minima,
            "super_block": encoding.super_block.data,
            "x_bits": 8 if op.activation_group.value.data else 16,
        }
    spec = Spec(**fields)
    one = spec.one
    if isinstance(one, integers.Spec) and one.padded_depth % one.block:
        return f"{one.padded_depth} columns are no whole blocks of {one.block} for bytes of x"
    return spec


def _chosen(op: ExpertUpOp) -> int:
    return columns_of(op.result) // op.width
