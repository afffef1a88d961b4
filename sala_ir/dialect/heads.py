"""Checks on heads and caches that the attention ops share."""

from __future__ import annotations

from xdsl.ir import SSAValue

from sala_compile.sala_ir.attention_sizes import BlockSelection, Heads
from sala_compile.sala_ir.dialect.base import require, require_columns
from sala_compile.sala_ir.dialect.types import CompressedKeysType, KvCacheType, RecentKeysType


def require_qkv(q: SSAValue, k: SSAValue, v: SSAValue, heads: Heads) -> None:
    """Queries of all heads, keys and values of the kv heads."""
    require_columns(q, heads.columns, "q")
    require_columns(k, heads.kv_columns, "k")
    require_columns(v, heads.kv_columns, "v")


def kv_type(value: SSAValue) -> KvCacheType:
    """The type of a kv cache operand."""
    kind = value.type
    assert isinstance(kind, KvCacheType), "the constraint of the operand"
    return kind


def compressed_type(value: SSAValue) -> CompressedKeysType:
    """The type of a compressed keys operand."""
    kind = value.type
    assert isinstance(kind, CompressedKeysType), "the constraint of the operand"
    return kind


def recent_type(value: SSAValue) -> RecentKeysType:
    """The type of a recent keys operand."""
    kind = value.type
    assert isinstance(kind, RecentKeysType), "the constraint of the operand"
    return kind


def recent_keys_type(keys: CompressedKeysType) -> RecentKeysType:
    """The recent keys from which these are made: those of a coarse window."""
    tokens = keys.COARSE * keys.kernel_size.data
    return RecentKeysType(keys.kv_heads.data, tokens, keys.head_dim.data, keys.element_type)


def require_cache(kv: SSAValue, heads: Heads) -> None:
    """The cache holds the kv heads."""
    found = kv_type(kv)
    same = (found.kv_heads.data, found.head_dim.data) == (heads.kv_heads, heads.head_dim)
    require(same, "cache {} does not hold {} heads of {}", found, heads.kv_heads, heads.head_dim)


def require_kv_columns(new: SSAValue, kv: SSAValue) -> None:
    """New keys or values have the columns of the cache."""
    cache = kv_type(kv)
    require_columns(new, cache.kv_heads.data * cache.head_dim.data, "k")


def require_compressed(
    compressed: SSAValue, kv: SSAValue | None, selection: BlockSelection | None
) -> None:
    """The compressed keys are those of the cache, and of windows and blocks of the selection."""
    keys = compressed_type(compressed)
    if kv is not None:
        cache = kv_type(kv)
        same = (cache.kv_heads, cache.head_dim) == (keys.kv_heads, keys.head_dim)
        same = same and cache.page_tokens == keys.page_tokens
        require(same, "{} do not belong to {}", keys, cache)
    if selection is not None:
        sizes = (keys.kernel_size.data, keys.kernel_stride.data)
        declared = (selection.kernel_size, selection.kernel_stride)
        require(sizes == declared, "{} has other windows than {}", keys, declared)
        page, block = keys.page_tokens.data, selection.block_size
        require(page % block == 0, "pages of {} tokens are no whole blocks of {}", page, block)


def require_recent(recent: SSAValue, compressed: SSAValue) -> None:
    """The recent keys are those of a coarse window of the compressed keys."""
    found, keys = recent_type(recent), compressed_type(compressed)
    wanted = recent_keys_type(keys)
    require(found == wanted.with_element(found.element_type), "{} do not belong to {}", found, keys)
