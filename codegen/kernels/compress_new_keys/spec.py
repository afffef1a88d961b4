"""What a compress_new_keys kernel is compiled for, and what it is called with."""

from dataclasses import dataclass
from typing import Any

from sala_compile.codegen.kernels.arguments import Arguments, activation, given, state
from sala_compile.codegen.kernels.compress_keys.spec import WindowSpec
from sala_compile.codegen.kernels.operands import column_views, element, refuse_unless_float32
from sala_compile.sala_ir.dialect.heads import compressed_type, kv_type, recent_type
from sala_compile.sala_ir.dialect.stages import CompressKeysOp, CompressNewKeysOp


@dataclass(frozen=True, slots=True)
class Spec(WindowSpec):
    """Windows of new keys, and where k is: columns of rows of `k_pitch`.

    The keys of the last `recent` tokens are there, at least a coarse window; the kernel `keeps`
    them so, or only reads those of a cache whose full pages are rounded.
    """

    FAMILY = "compress_new_keys"

    k_start: int
    k_pitch: int
    recent: int
    keeps: bool = True


def fields_of(op: CompressNewKeysOp | CompressKeysOp) -> dict[str, Any] | str:
    """The fields of a Spec; the reason of a refusal unless keys are float32 and not in pages."""
    if op.k is None:
        return "the keys are in pages"
    refusal = refuse_unless_float32(k=op.k)
    if refusal:
        return refusal
    kv_heads, _, stride, block_size, head_dim = compressed_type(op.ck).sizes
    if isinstance(op, CompressNewKeysOp):
        source, recent = op.recent, recent_type(op.recent).tokens.data
    else:
        rounding = kv_type(op.kv).rounding
        assert rounding is not None, "the verifier has looked"
        source, recent = op.kv, rounding.recent
    return {
        **{"kv_heads": kv_heads, "block_size": block_size, "head_dim": head_dim},
        **{"kernel_stride": stride, "element": element(source), "recent": recent},
        "keeps": isinstance(op, CompressNewKeysOp),
        "compressed_element": element(op.ck),
        **column_views(k=op.k),
    }


def operands(spec: Spec, *, packed: bool) -> Arguments:
    """New keys, recent ones, and the pools of both levels; `packed` ones are those of CPUs."""
    recent = (spec.kv_heads, spec.recent, spec.head_dim)
    shape = ("recent_slots", *recent)
    kept = (
        state("recent", spec.element, *shape, operand="recent")
        if spec.keeps
        else given("recent", spec.element, *shape, operand="kv", part="recent_k")
    )
    return (
        activation("k", "f32", spec.k_pitch),
        kept,
        *spec.compressed_pools(packed=packed),
    )
