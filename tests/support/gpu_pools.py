"""Pools of a sparse layer as GPU kernels lay them out, for kernel tests."""

from dataclasses import dataclass

import numpy as np

from sala_compile.codegen.kernels.tir.element import Element
from tests.support.pools import loaded, stored
from tests.support.steps import Step, poisoned


@dataclass(frozen=True, slots=True)
class GpuPools:
    """Poisoned pools for all the pages of a step's tables: [pages, kv heads, tokens, head size]."""

    block_size: int
    stride: int
    element: Element
    k: np.ndarray
    v: np.ndarray
    fine: np.ndarray
    coarse: np.ndarray

    @classmethod
    def poisoned(
        cls,
        batch: Step,
        *,
        kv_heads: int,
        block_size: int,
        stride: int,
        head_dim: int,
        element: Element,
    ) -> "GpuPools":
        """Pools of NaNs."""
        fine = 64 * block_size // stride
        rows = (
            (batch.pages.size, block_size),
            (batch.pages.size, block_size),
            (batch.compressed_pages.size, fine),
            (batch.compressed_pages.size, fine // 4),
        )
        dtype = np.dtype(element.dtype)
        pools = (poisoned(pages, kv_heads, n, head_dim, dtype=dtype) for pages, n in rows)
        return cls(block_size, stride, element, *pools)

    def fill(
        self, batch: Step, slot: int, keys: np.ndarray, values: np.ndarray, *, first: int = 0
    ) -> None:
        """Write keys and values [tokens, kv heads, head_dim] of a slot from token `first` on."""
        index = np.arange(first, first + len(keys))
        pages, places = batch.pages[slot, index // self.block_size], index % self.block_size
        for pool, rows in ((self.k, keys), (self.v, values)):
            pool[pages, :, places] = stored(rows, self.element)

    def fill_compressed(self, batch: Step, slot: int, fine: np.ndarray, coarse: np.ndarray) -> None:
        """Write all compressed keys [windows, kv heads, head_dim] of a slot."""
        for pool, keys in ((self.fine, fine), (self.coarse, coarse)):
            index = np.arange(1, len(keys) + 1)
            pages = batch.compressed_pages[slot, index // pool.shape[2]]
            pool[pages, :, index % pool.shape[2]] = stored(keys, self.element)

    def rows(self, name: str, batch: Step, slot: int, length: int) -> np.ndarray:
        """The first `length` rows of the pool `k` or `v`, [tokens, kv heads, head_dim]."""
        index = np.arange(length)
        pages = batch.pages[slot, index // self.block_size]
        found = getattr(self, name)[pages, :, index % self.block_size]
        return loaded(np.ascontiguousarray(found), self.element)

    def compressed(self, name: str, batch: Step, slot: int, length: int) -> np.ndarray:
        """The keys of the pool `fine` or `coarse` that are complete after `length` tokens."""
        pool = getattr(self, name)
        stride = self.stride * (1 if name == "fine" else 4)
        index = np.arange(1, max(0, length // stride - 1) + 1)
        pages = batch.compressed_pages[slot, index // pool.shape[2]]
        return loaded(np.ascontiguousarray(pool[pages, :, index % pool.shape[2]]), self.element)

    def touched(self, name: str) -> int:
        """How many elements of a pool are no poison any more."""
        return int((~np.isnan(loaded(getattr(self, name), self.element))).sum())
