"""Open the attention mixers into the stages that kernels compute."""

from dataclasses import dataclass
from typing import ClassVar

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern, op_type_rewrite_pattern

from sala_compile.passes.support.rewriting import apply_patterns
from sala_compile.sala_ir.dialect import (
    AppendKvOp,
    AttendBlocksOp,
    BlockSparseAttentionOp,
    CompressKeysOp,
    SelectBlocksOp,
    SoftmaxAttentionOp,
    element_of,
)


class _OpenBlockSparse(RewritePattern):
    """append, compress, select, attend; select answers -1 blocks where the call is dense."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: BlockSparseAttentionOp, rewriter: PatternRewriter) -> None:
        append = AppendKvOp(op.k, op.v, op.kv, op.batch, layer=op.layer)
        compress = CompressKeysOp(append.kv_out, op.ck, op.batch, layer=op.layer)
        select = SelectBlocksOp(
            op.q,
            compress.ck_out,
            op.batch,
            heads=op.heads,
            selection=op.selection,
            layer=op.layer,
        )
        attend = AttendBlocksOp(
            op.q,
            append.kv_out,
            op.batch,
            heads=op.heads,
            blocks=select.blocks,
            counts=select.counts,
            block_size=op.selection.data.block_size,
            element=element_of(op.out),
            layer=op.layer,
        )
        _name_stages(attend, select)
        results = [attend.out, append.kv_out, compress.ck_out]
        rewriter.replace(op, [append, compress, select, attend], results)


class _OpenSoftmax(RewritePattern):
    """append, attend to everything."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: SoftmaxAttentionOp, rewriter: PatternRewriter) -> None:
        append = AppendKvOp(op.k, op.v, op.kv, op.batch, layer=op.layer)
        attend = AttendBlocksOp(
            op.q,
            append.kv_out,
            op.batch,
            heads=op.heads,
            element=element_of(op.out),
            layer=op.layer,
        )
        _name_stages(attend)
        rewriter.replace(op, [append, attend], [attend.out, append.kv_out])


def _name_stages(attend: AttendBlocksOp, select: SelectBlocksOp | None = None) -> None:
    attend.blocks_read.name_hint = "blocks_read"
    if select is not None:
        select.blocks.name_hint = "blocks"
        select.counts.name_hint = "counts"


@dataclass(frozen=True)
class OpenAttention(ModulePass):
    """Block-sparse and softmax attention become append, compress, select and attend."""

    name: ClassVar[str] = "open-attention"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module in place."""
        apply_patterns(op, _OpenBlockSparse(), _OpenSoftmax())
