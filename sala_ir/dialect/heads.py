"""Checks on head counts that the attention ops share."""

from __future__ import annotations

from xdsl.ir import SSAValue

from sala_compile.sala_ir.dialect.base import require, require_columns
from sala_compile.sala_ir.dialect.types import CompressedKeysType, KvCacheType


def require_heads(num_heads: int, kv_heads: int, head_dim: int) -> None:
    """Positive counts, kv heads dividing the query heads, an even head size."""
    require(min(num_heads, kv_heads, head_dim) > 0, "heads and head_dim must be positive")
    require(num_heads % kv_heads == 0, f"{kv_heads} kv heads do not divide {num_heads} heads")
    require(head_dim % 2 == 0, f"head_dim must be even, not {head_dim}")


def require_qkv(
    q: SSAValue, k: SSAValue, v: SSAValue, *, num_heads: int, kv_heads: int, head_dim: int
) -> None:
    """Queries of all heads, keys and values of the kv heads."""
    require_heads(num_heads, kv_heads, head_dim)
    require_columns(q, num_heads * head_dim, "q")
    require_columns(k, kv_heads * head_dim, "k")
    require_columns(v, kv_heads * head_dim, "v")


def kv_type(value: SSAValue) -> KvCacheType:
    """The type of a kv cache operand."""
    kind = value.type
    require(isinstance(kind, KvCacheType), f"expected a kv cache, found {kind}")
    assert isinstance(kind, KvCacheType)
    return kind


def compressed_type(value: SSAValue) -> CompressedKeysType:
    """The type of a compressed keys operand."""
    kind = value.type
    require(isinstance(kind, CompressedKeysType), f"expected compressed keys, found {kind}")
    assert isinstance(kind, CompressedKeysType)
    return kind


def require_cache(kv: SSAValue, *, kv_heads: int, head_dim: int) -> None:
    """The cache holds that many heads of that size."""
    found = kv_type(kv)
    same = (found.kv_heads.data, found.head_dim.data) == (kv_heads, head_dim)
    require(same, f"cache {found} does not hold {kv_heads} heads of {head_dim}")


def require_compressed(kv: SSAValue, compressed: SSAValue) -> None:
    """The compressed keys are those of the cache."""
    cache, keys = kv_type(kv), compressed_type(compressed)
    same = (
        cache.kv_heads == keys.kv_heads
        and cache.block_size == keys.block_size
        and cache.head_dim == keys.head_dim
    )
    require(same, f"{keys} do not belong to {cache}")


def selection_paths(dense_len: int) -> tuple[tuple[int, str], ...]:
    """The paths of an op that attends to chosen blocks in calls of `dense_len` tokens or more."""
    return ((0, "dense"), (dense_len, "sparse")) if dense_len else ((0, "sparse"),)


def require_selection(*, init_blocks: int, window_blocks: int, topk: int, dense_len: int) -> None:
    """A budget that holds the forced blocks: init blocks, own block and the window before it."""
    require(min(init_blocks, window_blocks, dense_len) >= 0, "selection sizes must not be negative")
    require(topk >= init_blocks + 1, f"topk {topk} must be at least init_blocks + 1")
