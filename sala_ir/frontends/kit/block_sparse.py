"""InfLLM-V2: attention that reads blocks of the past, chosen by compressed keys."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict
from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue

from sala_compile.runtime.errors import ConfigError
from sala_compile.sala_ir.attention_sizes import BlockSelection, Heads
from sala_compile.sala_ir.dialect import (
    BlockSparseAttentionOp,
    CompressedKeysType,
    KvCacheType,
    WeightRole,
)
from sala_compile.sala_ir.dialect.heads import recent_keys_type
from sala_compile.sala_ir.dialect.types import StateType
from sala_compile.sala_ir.frontends.attention_mode import AttentionMode
from sala_compile.sala_ir.frontends.kit.decoder import PAGE_TOKENS, softmax_attention
from sala_compile.sala_ir.frontends.kit.fields import Block, Cardinal, Count, Refuse
from sala_compile.sala_ir.frontends.kit.step import StepWriter


def _length(value: object) -> object:
    """The publisher writes -1 for a length that every call reaches."""
    return 0 if type(value) is int and value == -1 else value


class SparseConfig(BaseModel):
    """`sparse_config`; its defaults are those of the model's own code.

    A config without one is of a dense model: its attention reads all of the past at any length.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    kernel_size: Block = 32
    kernel_stride: Block = 16
    block_size: Block = 64
    init_blocks: Cardinal = 1
    window_size: Cardinal = 2048
    topk: Count = 64
    dense_len: Annotated[Cardinal, BeforeValidator(_length)] = 8192
    use_nope: bool = False

    @property
    def window_blocks(self) -> int:
        """Blocks before the own one that are always read: whole ones of the window."""
        return self.window_size // self.block_size

    @property
    def budget(self) -> int:
        """Blocks that a query reads at most, the forced ones included."""
        return self.topk + self.window_blocks

    def selection(self, attention: AttentionMode) -> BlockSelection:
        """The sizes of the mixer; sparse attention has no length below which it is dense."""
        return BlockSelection(
            kernel_size=self.kernel_size,
            kernel_stride=self.kernel_stride,
            block_size=self.block_size,
            init_blocks=self.init_blocks,
            window_blocks=self.window_blocks,
            topk=self.topk,
            dense_len=0 if attention is AttentionMode.SPARSE else self.dense_len,
        )

    def check(self, refuse: Refuse) -> None:
        """Raise `ConfigError` for the first constraint between fields that is broken."""
        stride, block, init = self.kernel_stride, self.block_size, self.init_blocks
        rules = (
            (self.kernel_size == 2 * stride, "kernel_size", f"2 * kernel_stride = {2 * stride}"),
            (block % stride == 0, "block_size", f"a multiple of kernel_stride = {stride}"),
            (self.topk >= init + 1, "topk", f"at least init_blocks + 1 = {init + 1}"),
        )
        for holds, field, expected in rules:
            if not holds:
                fix = "use a checkpoint whose sparse layers satisfy this"
                raise refuse(f"sparse_config.{field}", getattr(self, field), expected, fix)


def attention_mode(sparse: SparseConfig | None, requested: AttentionMode) -> AttentionMode:
    """How the layers of attention read the past; without a sparse_config they are dense.

    Raises `ConfigError` where sparse attention is requested without one.
    """
    if sparse is not None:
        return requested
    if requested is AttentionMode.SPARSE:
        raise ConfigError(
            "the config has no sparse_config, so its model is dense",
            where="--attention sparse",
            expected="a config with a sparse_config",
            fix="leave --attention out, or add the sparse_config that the model was trained with",
        )
    return AttentionMode.DENSE


def attention_states(
    sparse: SparseConfig | None,
    kv_heads: int,
    head_dim: int,
    attention: AttentionMode,
    *,
    rotates: bool,
) -> dict[str, StateType]:
    """States of a layer by kind: keys and values; compressed keys where blocks are selected, and
    the keys of open windows where the cache has them rotated only.
    """
    block = PAGE_TOKENS if sparse is None else sparse.block_size
    states: dict[str, StateType] = {"kv_cache": KvCacheType(kv_heads, block, head_dim, f32)}
    if sparse is not None and attention is not AttentionMode.DENSE:
        states["compressed_keys"] = keys = CompressedKeysType(
            kv_heads, sparse.kernel_size, sparse.kernel_stride, block, head_dim, f32
        )
        if sparse.use_nope and rotates:
            states["recent_keys"] = recent_keys_type(keys)
    return states


def query_key_role(sparse: SparseConfig | None) -> WeightRole:
    """What the projections of queries and keys are for, whatever mode is requested."""
    return WeightRole.PROJECTION if sparse is None else WeightRole.BLOCK_SELECTION


def attend(
    step: StepWriter,
    batch: SSAValue,
    qkv: tuple[SSAValue, SSAValue, SSAValue],
    unrotated: tuple[SSAValue, SSAValue],
    heads: Heads,
    sparse: SparseConfig | None,
    attention: AttentionMode,
) -> SSAValue:
    """Attention as config and mode say: to all of the past, or to blocks of it.

    `unrotated` are the queries and keys before the rotation, if there is one.
    """
    if sparse is None or attention is AttentionMode.DENSE:
        return softmax_attention(step, batch, qkv, heads)
    by_others = sparse.use_nope and unrotated != qkv[:2]
    op = BlockSparseAttentionOp(
        *qkv,
        step.state("kv_cache"),
        step.state("compressed_keys"),
        batch,
        *((*unrotated, step.state("recent_keys")) if by_others else ()),
        heads=heads,
        selection=sparse.selection(attention),
        layer=step.layer,
    )
    step.update(kv_cache=op.kv_out, compressed_keys=op.ck_out)
    if op.recent_out is not None:
        step.update(recent_keys=op.recent_out)
    return step.emit(op, "mixed", "kv_cache", "compressed_keys", "recent_keys")
