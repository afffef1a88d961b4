"""What a kernel of attention to pools is compiled for, and what it is called with."""

from dataclasses import dataclass
from typing import Any

from sala_compile.codegen.kernels.arguments import Arguments, activation, batch, given, result
from sala_compile.codegen.kernels.operands import column_views, element, refuse_unless_float32
from sala_compile.codegen.kernels.page_rows import CacheShape
from sala_compile.codegen.kernels.spec import KernelSpec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.layouts.padding import padded
from sala_compile.sala_ir.dialect.heads import kv_type
from sala_compile.sala_ir.dialect.selected import AttendPoolsOp


@dataclass(frozen=True, slots=True)
class Spec(KernelSpec):
    """What the kernel is compiled for.

    `element` is the type of the cache and of the operands of both products. q and the gate are
    columns from `*_start` on of rows `*_pitch` floats apart. A token reads at most `count` pools of
    `pool` tokens, and the tokens after the last complete one. A `gate_pitch` of 0: there is no
    gate.
    """

    num_heads: int
    kv_heads: int
    head_dim: int
    scale: float
    pool: int
    count: int
    page_tokens: int
    element: Element
    out_element: Element
    q_start: int
    q_pitch: int
    gate_start: int = 0
    gate_pitch: int = 0

    @property
    def label(self) -> str:
        """The family and the main sizes, for names."""
        sizes = f"h{self.num_heads}_kv{self.kv_heads}_d{self.head_dim}_p{self.pool}x{self.count}"
        return f"attend_pools_{self.element}_{sizes}"

    @property
    def group(self) -> int:
        """Query heads of one kv head."""
        return self.num_heads // self.kv_heads

    @property
    def cache(self) -> CacheShape:
        """The shape of the pages."""
        return CacheShape(self.kv_heads, self.page_tokens, self.head_dim, self.element)


def describe(op: AttendPoolsOp, target: object) -> Spec | str:
    """Take every op with float32 queries and gates."""
    refusal = refuse_unless_float32(q=op.q, gate=op.gate)
    if refusal:
        return refusal
    gate: dict[str, Any] = {} if op.gate is None else column_views(gate=op.gate)
    heads = op.heads.data
    return Spec(
        heads.num_heads,
        heads.kv_heads,
        heads.head_dim,
        heads.scale,
        pool=op.pool.value.data,
        count=op.count,
        page_tokens=kv_type(op.kv).page_tokens.data,
        element=element(op.kv),
        out_element=element(op.out),
        **column_views(q=op.q),
        **gate,
    )


def arguments(spec: Spec, workspaces: Arguments) -> Arguments:
    """The arguments of a call, over the pages of CPUs."""
    return (
        *batch("control", "token_sequence", "token_position", "slots", "page_table"),
        activation("q", "f32", spec.q_pitch),
        *spec.cache.pools(packed=True),
        given("selection", "i32", "selection_rows", spec.count),
        activation("gate", "f32", spec.gate_pitch, when=bool(spec.gate_pitch)),
        result("out", spec.out_element, padded(spec.num_heads * spec.head_dim)),
        *workspaces,
    )
