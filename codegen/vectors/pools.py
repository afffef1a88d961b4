"""States of the reference written into pools, as the kernels lay them out."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sala_compile.codegen.layouts.padding import pair_of
from sala_compile.codegen.program.stored_state import StoredPart, stored_parts
from sala_compile.codegen.vectors.batch import VectorBatch
from sala_compile.runtime.artifact import Symbol, pages_of, pool_symbol
from sala_compile.sala_ir.dialect.types import (
    CompressedKeysType,
    KvCacheType,
    RecurrentStateType,
    StateType,
)

Pools = dict[str, np.ndarray]
"""Suffix of a pool ("" where a state has one) -> its values in float32, NaN where none are."""


def write_pools(kind: StateType, state: Mapping[int, Any], batch: VectorBatch) -> Pools:
    """The pools that hold the state of every slot; whatever no slot owns is NaN."""
    pools = {part.suffix: _poison(part, batch) for part in stored_parts(kind)}
    write = _WRITERS[type(kind)]
    for slot, values in state.items():
        write(pools, kind, slot, values, batch)
    return pools


def _poison(part: StoredPart, batch: VectorBatch) -> np.ndarray:
    pages = {
        pages_of("kv"): batch.page_table.size,
        pages_of("compressed"): batch.compressed_table.size,
        Symbol.SLOTS: batch.slot_count,
    }[pool_symbol(part.value)]
    fixed = [dim for dim in part.value.shape[1:] if isinstance(dim, int)]
    return np.full((pages, *fixed), np.nan, np.float32)


def _write_kv(pools: Pools, kind: StateType, slot: int, state: Any, batch: VectorBatch) -> None:
    keys, values = (np.asarray(part, np.float32) for part in state)
    pair, count, heads, size = pair_of(kind), *keys.shape
    index = np.arange(count)
    pages, places = batch.page_table[slot, index // batch.block_size], index % batch.block_size
    pools["k"][pages, :, :, places] = keys.reshape(count, heads, size // pair, pair)
    pools["v"][pages, :, places // pair, :size, places % pair] = values
    alone = (places % 2 == 0) & ((index == count - 1) | (places == batch.block_size - 1))
    if pair > 1:  # the partner of a token that no other one of its page follows
        pools["v"][pages[alone], :, places[alone] // pair, :size, 1] = 0


def _write_compressed(
    pools: Pools, kind: StateType, slot: int, state: Any, batch: VectorBatch
) -> None:
    for pool, level in zip(pools.values(), state, strict=True):
        keys = np.asarray(level, np.float32)
        pair, count, heads, size = pair_of(kind), *keys.shape
        index, slots = np.arange(count) + 1, pool.shape[3]
        pages = batch.compressed_table[slot, index // slots]
        pool[pages, :, :, index % slots] = keys.reshape(count, heads, size // pair, pair)


def _write_recurrent(
    pools: Pools, kind: StateType, slot: int, state: Any, batch: VectorBatch
) -> None:
    pools[""][slot] = state


_WRITERS: dict[type[StateType], Callable[..., None]] = {
    KvCacheType: _write_kv,
    CompressedKeysType: _write_compressed,
    RecurrentStateType: _write_recurrent,
}
