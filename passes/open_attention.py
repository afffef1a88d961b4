"""Open the attention mixers into the stages that kernels compute."""

from dataclasses import dataclass
from typing import ClassVar

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern, op_type_rewrite_pattern

from sala_compile.passes.support.rewriting import apply_patterns
from sala_compile.sala_ir.dialect import (
    AppendKvOp,
    AttendBlocksOp,
    AttendLatentsOp,
    AttendPoolsOp,
    BlockSparseAttentionOp,
    CompressKeysOp,
    CompressNewKeysOp,
    HeadLinearOp,
    KeepRecentOp,
    LatentAttentionOp,
    RoundPagesOp,
    SelectBlocksOp,
    SelectedAttentionOp,
    SoftmaxAttentionOp,
    element_of,
)
from sala_compile.sala_ir.dialect.heads import kv_type


class _OpenBlockSparse(RewritePattern):
    """append, compress, select, attend; select answers -1 blocks where the call is dense.

    Queries and keys that only choose blocks are compressed as they come: no cache holds them.
    """

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: BlockSparseAttentionOp, rewriter: PatternRewriter) -> None:
        write = _write(op)
        new_k, new_v = _read_next_to_pages(op)
        if op.choosing_q is None:
            compress = CompressKeysOp(write.kv_out, op.ck, op.batch, new_k, layer=op.layer)
        else:
            compress = CompressNewKeysOp(op.choosing_k, op.recent, op.ck, op.batch, layer=op.layer)
        select = SelectBlocksOp(
            op.choosing_q or op.q,
            compress.ck_out,
            op.batch,
            heads=op.heads,
            selection=op.selection,
            layer=op.layer,
        )
        attend = AttendBlocksOp(
            op.q,
            write.kv_out,
            op.batch,
            k=new_k,
            v=new_v,
            heads=op.heads,
            blocks=select.blocks,
            counts=select.counts,
            block_size=op.selection.data.block_size,
            element=element_of(op.out),
            layer=op.layer,
        )
        _name_stages(attend, select)
        kept = [compress.recent_out] if isinstance(compress, CompressNewKeysOp) else []
        last = _keep(op, write)
        stages = [write, compress, select, attend, *last]
        results = [attend.out, [write, *last][-1].kv_out, compress.ck_out, *kept]
        rewriter.replace(op, stages, results)


class _OpenSoftmax(RewritePattern):
    """append, attend to everything."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: SoftmaxAttentionOp, rewriter: PatternRewriter) -> None:
        write = _write(op)
        new_k, new_v = _read_next_to_pages(op)
        attend = AttendBlocksOp(
            op.q,
            write.kv_out,
            op.batch,
            k=new_k,
            v=new_v,
            heads=op.heads,
            element=element_of(op.out),
            layer=op.layer,
        )
        _name_stages(attend)
        last = _keep(op, write)
        results = [attend.out, [write, *last][-1].kv_out]
        rewriter.replace(op, [write, attend, *last], results)


class _OpenLatent(RewritePattern):
    """Queries that meet latents, attention to latents, values of what it gives."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: LatentAttentionOp, rewriter: PatternRewriter) -> None:
        heads, kept = op.heads.data.num_heads, element_of(op.cache)
        absorb = HeadLinearOp(op.q, op.key_weight, num_heads=heads, element=kept, layer=op.layer)
        attend = AttendLatentsOp(
            absorb.result,
            op.q,
            op.latent,
            op.rotary,
            op.cache,
            op.batch,
            op.selection,
            heads=op.heads,
            pool=op.pool,
            element=kept,
            layer=op.layer,
        )
        values = HeadLinearOp(
            attend.out,
            op.value_weight,
            num_heads=heads,
            element=element_of(op.out),
            layer=op.layer,
        )
        absorb.result.name_hint, attend.out.name_hint = "absorbed", "latents"
        rewriter.replace(op, [absorb, attend, values], [values.result, attend.cache_out])


class _OpenSelected(RewritePattern):
    """append, attend to the selection."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: SelectedAttentionOp, rewriter: PatternRewriter) -> None:
        write = AppendKvOp(op.k, op.v, op.kv, op.batch, layer=op.layer)
        attend = AttendPoolsOp(
            op.q,
            write.kv_out,
            op.batch,
            op.selection,
            heads=op.heads,
            pool=op.pool,
            element=element_of(op.out),
            layer=op.layer,
        )
        rewriter.replace(op, [write, attend], [attend.out, write.kv_out])


Mixer = BlockSparseAttentionOp | SoftmaxAttentionOp


def _write(op: Mixer) -> AppendKvOp | RoundPagesOp:
    """What brings the new tokens into the pages."""
    if kv_type(op.kv).rounding is None:
        return AppendKvOp(op.k, op.v, op.kv, op.batch, layer=op.layer)
    return RoundPagesOp(op.k, op.v, op.kv, op.batch, layer=op.layer)


def _read_next_to_pages(op: Mixer) -> tuple[SSAValue | None, SSAValue | None]:
    """The new keys and values, where queries read more than pages."""
    return (None, None) if kv_type(op.kv).rounding is None else (op.k, op.v)


def _keep(op: Mixer, write: AppendKvOp | RoundPagesOp) -> list[KeepRecentOp]:
    """What is kept of the new tokens once all of them have attended, besides pages."""
    if isinstance(write, AppendKvOp):
        return []
    return [KeepRecentOp(op.k, op.v, write.kv_out, op.batch, layer=op.layer)]


def _name_stages(attend: AttendBlocksOp, select: SelectBlocksOp | None = None) -> None:
    attend.blocks_read.name_hint = "blocks_read"
    if select is not None:
        select.blocks.name_hint = "blocks"
        select.counts.name_hint = "counts"


@dataclass(frozen=True)
class OpenAttention(ModulePass):
    """Block-sparse and softmax attention become append, compress, select and attend, attention to
    a selection append and attend; latent attention a product per head before its attention, and one
    after it.

    Where full pages are rounded, the pages that the new tokens complete are written in place of an
    append, and the newest tokens are kept at the end.
    """

    name: ClassVar[str] = "open-attention"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module in place."""
        apply_patterns(op, _OpenBlockSparse(), _OpenSoftmax(), _OpenSelected(), _OpenLatent())
