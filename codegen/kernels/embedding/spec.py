"""What an embedding kernel is compiled for, and what it is called with."""

from collections.abc import Mapping
from dataclasses import dataclass

from sala_compile.codegen.kernels.arguments import Arguments, batch, given, result
from sala_compile.codegen.kernels.operands import element
from sala_compile.codegen.kernels.spec import KernelSpec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.layouts.padding import padded
from sala_compile.codegen.layouts.panels import PANEL_ROWS, panel_shape
from sala_compile.passes.support.weight_names import demanded_layouts
from sala_compile.sala_ir.dialect.base import encoding_of, weight_shape
from sala_compile.sala_ir.dialect.embedding import EmbeddingOp
from sala_compile.sala_ir.dialect.weight_storage import LayoutAttr


@dataclass(frozen=True, slots=True)
class Spec(KernelSpec):
    """Constants of one embedding; `panel` if the matrix is in the panels of a linear."""

    vocabulary: int
    columns: int
    scale: float
    panel: bool
    weight: Element
    output: Element

    @property
    def label(self) -> str:
        """The family and the main sizes, for names."""
        layout = "panel" if self.panel else "rows"
        return f"embedding_{self.vocabulary}x{self.columns}_{self.weight}_{layout}"


def describe(op: EmbeddingOp, target: object) -> Spec | str:
    """Take an embedding of plain values; read panels if a linear, chosen before, requires them."""
    encoding = encoding_of(op.weight)
    if not encoding.is_plain:
        return f"the matrix is stored as {encoding.label}, not as plain values"
    vocabulary, columns = weight_shape(op.weight)
    return Spec(
        vocabulary=vocabulary,
        columns=columns,
        scale=op.scale.value.data,
        panel=LayoutAttr.panel(PANEL_ROWS) in demanded_layouts(op.weight),
        weight=element(op.weight),
        output=element(op.result),
    )


def arguments(spec: Spec, schedule: object = None) -> Arguments:
    """The arguments of a call; every id must be in the vocabulary."""
    shape: tuple[int, ...] = (spec.vocabulary, padded(spec.columns))
    if spec.panel:
        shape = panel_shape(spec.vocabulary, spec.columns, spec.weight.pack)
    return (
        *batch("control"),
        given("tokens", "i32", "tokens"),
        given("weight", spec.weight, *shape),
        result("y", spec.output, padded(spec.columns)),
    )


def layouts(spec: Spec) -> Mapping[str, LayoutAttr]:
    """How the matrix is stored if it is not row-major."""
    return {"weight": LayoutAttr.panel(PANEL_ROWS)} if spec.panel else {}
