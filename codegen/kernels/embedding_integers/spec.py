"""What an embedding of integers is compiled for, and what it is called with."""

from dataclasses import dataclass
from typing import TypeVar

from sala_compile.codegen.kernels.arguments import Arguments, batch, given, result
from sala_compile.codegen.kernels.operands import element
from sala_compile.codegen.kernels.spec import KernelSpec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.layouts.integer_blocks import IntegerBlocks
from sala_compile.codegen.layouts.integer_panels import IntegerPanels
from sala_compile.codegen.layouts.padding import padded
from sala_compile.sala_ir.dialect.base import encoding_of, weight_shape
from sala_compile.sala_ir.dialect.embedding import EmbeddingOp

Shapes = TypeVar("Shapes", IntegerPanels, IntegerBlocks)


@dataclass(frozen=True, slots=True)
class Spec(KernelSpec):
    """Constants of one embedding [vocabulary, columns] of integers of `bits`.

    Each `group` values of a row share a scale, and a zero or a minimum or neither; these are
    factors of the float16 of a `super_block`, unless that is 0.
    """

    vocabulary: int
    columns: int
    scale: float
    output: Element
    bits: int
    group: int
    stores_zeros: bool = False
    has_minima: bool = False
    super_block: int = 0

    @property
    def label(self) -> str:
        """The family and the main sizes, for names."""
        parts = [f"embedding_{self.vocabulary}x{self.columns}_int{self.bits}_g{self.group}"]
        return "_".join([*parts, *["minima"] * self.has_minima])

    def stored(self, layout: type[Shapes]) -> Shapes:
        """The shapes of the stored parts in a layout."""
        return layout(
            self.vocabulary,
            self.columns,
            self.bits,
            self.group,
            zeros=self.stores_zeros,
            minima=self.has_minima,
            super_block=self.super_block,
        )

    @property
    def entries(self) -> int:
        """Numbers of a group: a scale, and a minimum or not."""
        return 2 if self.has_minima else 1

    @property
    def zero(self) -> int:
        """The integer of value 0 where none is stored; 0 with minima."""
        return 0 if self.has_minima else 1 << (self.bits - 1)


def describe(op: EmbeddingOp, target: object) -> Spec | str:
    """Take an embedding whose matrix is stored as integers."""
    encoding = encoding_of(op.weight)
    if encoding.is_plain:
        return "the matrix is not stored as integers"
    vocabulary, columns = weight_shape(op.weight)
    return Spec(
        vocabulary=vocabulary,
        columns=columns,
        scale=op.scale.value.data,
        output=element(op.result),
        bits=encoding.bits,
        group=encoding.group.data,
        stores_zeros=encoding.stores_zeros,
        has_minima=encoding.has_minima,
        super_block=encoding.super_block.data,
    )


def arguments(spec: Spec, weight: Arguments) -> Arguments:
    """The arguments of a call with these stored parts of the matrix; ids are in the vocabulary."""
    return (
        *batch("control"),
        given("tokens", "i32", "tokens"),
        *weight,
        result("y", spec.output, padded(spec.columns)),
    )
