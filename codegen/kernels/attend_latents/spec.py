"""What a kernel of attention to latents is compiled for, and what it is called with."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.arguments import (
    Arguments,
    activation,
    batch,
    given,
    result,
    state,
)
from sala_compile.codegen.kernels.operands import column_views, element, refuse_unless_float32
from sala_compile.codegen.kernels.spec import KernelSpec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.layouts.padding import padded
from sala_compile.sala_ir.dialect.indexer import selected_pools
from sala_compile.sala_ir.dialect.latent import AttendLatentsOp, latent_type


@dataclass(frozen=True, slots=True)
class Spec(KernelSpec):
    """What the kernel is compiled for.

    `element` is the type of the cache, of `absorbed` and of the output. q, absorbed, latent and
    rotary are columns from `*_start` on of rows `*_pitch` elements apart. A page holds
    `page_blocks` blocks of `block_size` tokens. With a `count` a token reads so many pools of
    `pool` tokens and the tail, not all of the past.
    """

    num_heads: int
    key_dim: int
    rotary_dim: int
    latent_dim: int
    scale: float
    block_size: int
    page_blocks: int
    element: Element
    absorbed_start: int
    absorbed_pitch: int
    q_start: int
    q_pitch: int
    latent_start: int
    latent_pitch: int
    rotary_start: int
    rotary_pitch: int
    count: int = 0
    pool: int = 0

    @property
    def label(self) -> str:
        """The family and the main sizes, for names."""
        sizes = f"h{self.num_heads}_c{self.latent_dim}_r{self.rotary_dim}_b{self.block_size}"
        selected = f"_n{self.count}_p{self.pool}" if self.is_selected else ""
        return f"attend_latents_{self.element}_{sizes}{selected}"

    @property
    def is_selected(self) -> bool:
        """Whether a token reads chosen pools."""
        return self.count > 0

    @property
    def columns(self) -> int:
        """Columns of a row of the cache."""
        return self.latent_dim + self.rotary_dim

    @property
    def row(self) -> int:
        """Elements from one row of the cache to the next."""
        return padded(self.columns // self.element.pack) * self.element.pack

    @property
    def page_tokens(self) -> int:
        """Tokens of a page."""
        return self.page_blocks * self.block_size


def describe(op: AttendLatentsOp, target: object) -> Spec | str:
    """Take every op with float32 queries and new rows, and the cache's type before and after."""
    refusal = refuse_unless_float32(q=op.q, latent=op.latent, rotary=op.rotary)
    if refusal:
        return refusal
    kept = element(op.cache)
    for name, value in (("absorbed", op.absorbed), ("out", op.out)):
        if element(value) is not kept:
            return f"{name} must be {kept}, the type of the cache, not {element(value)}"
    heads, absent = op.heads.data, {"rotary_start": 0, "rotary_pitch": 0}
    return Spec(
        num_heads=heads.num_heads,
        key_dim=heads.key_dim,
        rotary_dim=heads.rotary_dim,
        latent_dim=heads.latent_dim,
        scale=heads.scale,
        block_size=op.block,
        page_blocks=latent_type(op.cache).page_tokens.data // op.block,
        element=kept,
        count=0 if op.selection is None else selected_pools(op.selection),
        pool=0 if op.pool is None else op.pool.value.data,
        **column_views(absorbed=op.absorbed, q=op.q, latent=op.latent),
        **(absent if op.rotary is None else column_views(rotary=op.rotary)),
    )


def arguments(spec: Spec, workspaces: Arguments) -> Arguments:
    """The arguments of a call."""
    page = (spec.page_tokens, spec.row)
    return (
        *batch("control", "token_sequence", "token_position", "offsets", "slots", "page_table"),
        activation("absorbed", spec.element, spec.absorbed_pitch),
        activation("q", "f32", spec.q_pitch, when=spec.rotary_dim > 0),
        activation("latent", "f32", spec.latent_pitch),
        activation("rotary", "f32", spec.rotary_pitch, when=spec.rotary_dim > 0),
        state("pool", spec.element, "pages", *page, operand="cache"),
        given("selection", "i32", "selection_rows", spec.count, when=spec.is_selected),
        result("out", spec.element, padded(spec.num_heads * spec.latent_dim)),
        *workspaces,
    )
