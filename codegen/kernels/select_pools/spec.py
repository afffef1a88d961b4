"""What a kernel that chooses pools of tokens is compiled for, and what it is called with."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.arguments import Arguments, activation, batch, result, state
from sala_compile.codegen.kernels.operands import column_views, element, refuse_unless_float32
from sala_compile.codegen.kernels.spec import KernelSpec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.layouts.padding import padded
from sala_compile.sala_ir.dialect.indexer import SelectPoolsOp, indexer_keys_type


@dataclass(frozen=True, slots=True)
class Spec(KernelSpec):
    """What the kernel is compiled for.

    `columns` are those of a key, `element` the type in which keys are kept. q, keys and weights are
    float32 columns from `*_start` on of rows `*_pitch` apart; a pitch of weights of 0 means that
    there are none.
    """

    heads: int
    columns: int
    scale: float
    count: int
    pool: int
    page_tokens: int
    element: Element
    q_start: int
    q_pitch: int
    keys_start: int
    keys_pitch: int
    weights_start: int = 0
    weights_pitch: int = 0

    @property
    def label(self) -> str:
        """The family and the main sizes, for names."""
        sizes = f"h{self.heads}_d{self.columns}_p{self.pool}_n{self.count}"
        return f"select_pools_{self.element}_{sizes}"

    @property
    def entries(self) -> int:
        """Keys of a page."""
        return self.page_tokens // self.pool

    @property
    def is_weighted(self) -> bool:
        """Whether heads have weights."""
        return self.weights_pitch > 0


def describe(op: SelectPoolsOp, target: object) -> Spec | str:
    """Take every op with float32 operands."""
    refusal = refuse_unless_float32(q=op.q, keys=op.keys, weights=op.weights)
    if refusal:
        return refusal
    kind = indexer_keys_type(op.cache)
    views = column_views(q=op.q, keys=op.keys)
    if op.weights is not None:
        views |= column_views(weights=op.weights)
    return Spec(
        **op.parameters,
        columns=kind.columns.data,
        pool=op.pool,
        page_tokens=kind.page_tokens.data,
        element=element(op.cache),
        **views,
    )


def arguments(spec: Spec, workspaces: Arguments) -> Arguments:
    """The arguments of a call."""
    pack = spec.element.pack
    page = (spec.columns // pack, padded(spec.entries), pack)
    return (
        *batch("control", "token_sequence", "token_position", "offsets", "slots", "page_table"),
        activation("q", "f32", spec.q_pitch),
        activation("keys", "f32", spec.keys_pitch),
        state("pool", spec.element, "pages", *page, operand="cache"),
        activation("weights", "f32", spec.weights_pitch, when=spec.is_weighted),
        result("selection", "i32", spec.count),
        *workspaces,
    )
