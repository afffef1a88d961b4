"""What a block attention kernel is compiled for, and what it is called with."""

from dataclasses import asdict, dataclass
from typing import Any, cast

from xdsl.dialects.builtin import TensorType

from sala_compile.codegen.kernels.arguments import Arguments, activation, batch, given, result
from sala_compile.codegen.kernels.operands import column_views, element, refuse_unless_float32
from sala_compile.codegen.kernels.page_rows import CacheShape, RoundedShape
from sala_compile.codegen.kernels.spec import KernelSpec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.layouts.padding import padded
from sala_compile.sala_ir.dialect.heads import kv_type
from sala_compile.sala_ir.dialect.stages import AttendBlocksOp


@dataclass(frozen=True, slots=True)
class Spec(KernelSpec):
    """What the kernel is compiled for.

    `element` is the type of the cache and of the operands of both products. q and the gate are
    columns from `*_start` on of rows `*_pitch` floats apart. `budget` is the width of the block
    lists, 0 if there are none (dense attention). A page holds `page_blocks` blocks; several are
    multiples of 16 tokens each. Full pages are integers of `key_bits` and `value_bits` where these
    are not 0: then the own page of a query is read from `recent` tokens, and new ones in k and v.
    """

    num_heads: int
    kv_heads: int
    head_dim: int
    block_size: int
    scale: float
    element: Element
    out_element: Element
    budget: int
    q_start: int
    q_pitch: int
    gate: bool
    gate_start: int = 0
    gate_pitch: int = 0
    page_blocks: int = 1
    key_bits: int = 0
    value_bits: int = 0
    recent: int = 0
    k_start: int = 0
    k_pitch: int = 0
    v_start: int = 0
    v_pitch: int = 0

    @property
    def label(self) -> str:
        """The family and the main sizes, for names."""
        kind = "sparse" if self.budget else "dense"
        sizes = f"h{self.num_heads}_kv{self.kv_heads}_d{self.head_dim}_b{self.block_size}"
        stored = f"k{self.key_bits}v{self.value_bits}_" if self.is_rounded else ""
        return f"attend_blocks_{kind}_{self.element}_{stored}{sizes}"

    @property
    def is_rounded(self) -> bool:
        """Whether full pages are integers."""
        return self.key_bits > 0

    @property
    def group(self) -> int:
        """Query heads of one kv head."""
        return self.num_heads // self.kv_heads

    @property
    def cache(self) -> CacheShape:
        """The shape of the pages."""
        return CacheShape(self.kv_heads, self.page_tokens, self.head_dim, self.element)

    @property
    def rounded(self) -> RoundedShape:
        """The shape of pages of integers, and of the recent tokens."""
        sizes = (self.kv_heads, self.page_tokens, self.head_dim, self.element)
        return RoundedShape(*sizes, self.key_bits, self.value_bits, self.recent)

    @property
    def page_tokens(self) -> int:
        """Tokens of a page."""
        return self.page_blocks * self.block_size


def fields_of(op: AttendBlocksOp) -> dict[str, Any] | str:
    """The fields of a Spec; the reason of a refusal unless queries and gate are float32."""
    refusal = refuse_unless_float32(q=op.q, gate=op.gate, k=op.k, v=op.v)
    if refusal:
        return refusal
    gate = {} if op.gate is None else column_views(gate=op.gate)
    lists = None if op.blocks is None else cast(TensorType, op.blocks.type).get_shape()
    return {
        **op.parameters,
        "block_size": op.block,
        "page_blocks": kv_type(op.kv).page_tokens.data // op.block,
        "element": element(op.kv),
        "out_element": element(op.out),
        "budget": 0 if lists is None else lists[2],
        "gate": op.gate is not None,
        **column_views(q=op.q),
        **gate,
        **_rounded_fields(op),
    }


def _rounded_fields(op: AttendBlocksOp) -> dict[str, int]:
    rounding = kv_type(op.kv).rounding
    if rounding is None or op.k is None or op.v is None:
        return {}
    return {**asdict(rounding), **column_views(k=op.k, v=op.v)}


def arguments(spec: Spec, workspaces: Arguments, *, packed: bool) -> Arguments:
    """The arguments of a call; without lists of blocks every token reads everything."""
    heads, sparse = spec.kv_heads, bool(spec.budget)
    fields = ("token_sequence", "token_position", "offsets", "slots", "page_table")
    rounded = spec.is_rounded
    pools = spec.rounded.pools() if rounded else spec.cache.pools(packed=packed)
    return (
        *batch("control", *fields),
        *batch("history", when=rounded),
        activation("q", "f32", spec.q_pitch),
        *pools,
        activation("k", "f32", spec.k_pitch, when=rounded),
        activation("v", "f32", spec.v_pitch, when=rounded),
        given("blocks", "i32", "block_rows", heads, spec.budget, when=sparse),
        given("counts", "i32", "count_rows", heads, when=sparse),
        activation("gate", "f32", spec.gate_pitch, when=spec.gate),
        result("out", spec.out_element, padded(spec.num_heads * spec.head_dim)),
        result("blocks_read", "i32", heads, number=1),
        *workspaces,
    )
