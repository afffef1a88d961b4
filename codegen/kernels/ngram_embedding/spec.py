"""What an n-gram embedding kernel is compiled for, and what it is called with."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.arguments import Arguments, batch, given, result, state
from sala_compile.codegen.kernels.operands import element
from sala_compile.codegen.kernels.spec import KernelSpec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.layouts.padding import padded
from sala_compile.sala_ir.dialect.base import encoding_of, weight_shape
from sala_compile.sala_ir.dialect.ngrams import NgramEmbeddingOp
from sala_compile.sala_ir.dialect.plain import plain


@dataclass(frozen=True, slots=True)
class Spec(KernelSpec):
    """Constants of one embedding of n-grams: a table of `rows` x `columns`.

    `multipliers` are those of the ids, `sizes` the rows of every head, `end` the id after which a
    segment begins.
    """

    rows: int
    columns: int
    multipliers: tuple[int, ...]
    sizes: tuple[int, ...]
    end: int
    table: Element
    output: Element

    @property
    def label(self) -> str:
        """The family and the main sizes, for names."""
        order, heads = len(self.multipliers), len(self.sizes)
        return f"ngram_embedding_{self.rows}x{self.columns}_n{order}_h{heads}_{self.table}"

    @property
    def kept(self) -> int:
        """Ids that are kept of a sequence."""
        return len(self.multipliers) - 1

    @property
    def heads(self) -> int:
        """Heads of every order."""
        return len(self.sizes) // self.kept


def describe(op: NgramEmbeddingOp, target: object) -> Spec | str:
    """Take every embedding of plain values."""
    encoding = encoding_of(op.table)
    if not encoding.is_plain:
        return f"the table is stored as {encoding.label}, not as plain values"
    rows, columns = weight_shape(op.table)
    return Spec(
        rows,
        columns,
        tuple(plain(op.multipliers)),
        tuple(plain(op.sizes)),
        op.end.value.data,
        element(op.table),
        element(op.out),
    )


def arguments(spec: Spec, schedule: object = None) -> Arguments:
    """The arguments of a call."""
    fields = ("token_sequence", "token_position", "offsets", "history", "slots", "checkpoints")
    return (
        *batch("control", *fields),
        given("tokens", "i32", "tokens"),
        given("table", spec.table, spec.rows, padded(spec.columns)),
        state("window", "i32", "window_slots", spec.kept, operand="window"),
        result("out", spec.output, padded(len(spec.sizes) * spec.columns)),
    )
