"""Paged pools for kernel tests, and how to read them back as contiguous arrays."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from sala_compile.codegen.kernels.tir.element import Element
from tests.support.steps import Step, from_bits, padded, poisoned, to_bits


def stored(values: np.ndarray, element: Element) -> np.ndarray:
    """float -> what memory holds."""
    return to_bits(values) if element is Element.BF16 else values.astype(np.float32)


def loaded(values: np.ndarray, element: Element) -> np.ndarray:
    """What memory holds -> float64."""
    return from_bits(values) if element is Element.BF16 else values.astype(np.float64)


def rounded(values: np.ndarray, element: Element) -> np.ndarray:
    """Values rounded to the element type, float64."""
    return loaded(stored(values, element), element)


@dataclass(frozen=True, slots=True)
class Pools:
    """Poisoned pools of one sparse layer for all the pages of a step's tables."""

    kv_heads: int
    block_size: int
    stride: int
    head_dim: int
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
    ) -> "Pools":
        """Pools of NaNs."""
        pack, dtype = element.pack, np.dtype(element.dtype)
        tokens, columns = padded(block_size), padded(head_dim)
        pages, compressed = batch.pages.size, batch.compressed_pages.size
        fine = 64 * block_size // stride
        keys = (head_dim // pack, tokens, pack)

        def compressed_pool(slots: int) -> np.ndarray:
            runs = slots // 64 if slots % 64 == 0 else 1
            row = (kv_heads, runs, head_dim // pack, slots // runs, pack)
            return poisoned(compressed, *row, dtype=dtype)

        return cls(
            kv_heads,
            block_size,
            stride,
            head_dim,
            element,
            poisoned(pages, kv_heads, *keys, dtype=dtype),
            poisoned(pages, kv_heads, tokens // pack, columns, pack, dtype=dtype),
            compressed_pool(fine),
            compressed_pool(fine // 4),
        )

    def fill(
        self, batch: Step, slot: int, keys: np.ndarray, values: np.ndarray, *, first: int = 0
    ) -> None:
        """Write keys and values [tokens, kv heads, head_dim] of a slot from token `first` on."""
        for index, (key, value) in enumerate(zip(keys, values, strict=True), first):
            page, place = batch.pages[slot, index // self.block_size], index % self.block_size
            pack = self.element.pack
            shape = (self.kv_heads, self.head_dim // pack, pack)
            self.k[page, :, :, place] = stored(key, self.element).reshape(shape)
            half = self.v[page, :, place // pack, : self.head_dim]
            if place % pack == 0:
                half[:, :, 1:] = 0
            half[:, :, place % pack] = stored(value, self.element)

    def fill_compressed(self, batch: Step, slot: int, fine: np.ndarray, coarse: np.ndarray) -> None:
        """Write all compressed keys [windows, kv heads, head_dim] of a slot."""
        for pool, keys in ((self.fine, fine), (self.coarse, coarse)):
            runs, run, pack = pool.shape[2], pool.shape[4], self.element.pack
            shape = (self.kv_heads, self.head_dim // pack, pack)
            for index, key in enumerate(keys, 1):
                page = batch.compressed_pages[slot, index // (runs * run)]
                place = (page, slice(None), index // run % runs, slice(None), index % run)
                pool[place] = stored(key, self.element).reshape(shape)

    def rows(self, name: str, batch: Step, slot: int, length: int) -> np.ndarray:
        """The first `length` rows of the pool `k` or `v`, [tokens, kv heads, head_dim]."""
        index, pack = np.arange(length), self.element.pack
        place = index % self.block_size
        pages = batch.pages[slot, index // self.block_size]
        if name == "k":
            return self._heads(self.k[pages, :, :, place], length)
        found = self.v[pages, :, place // pack, :, place % pack]
        return loaded(np.ascontiguousarray(found[:, :, : self.head_dim]), self.element)

    def compressed(self, name: str, batch: Step, slot: int, length: int) -> np.ndarray:
        """The keys of the pool `fine` or `coarse` that are complete after `length` tokens."""
        pool = getattr(self, name)
        stride = self.stride * (1 if name == "fine" else 4)
        index = np.arange(1, max(0, length // stride - 1) + 1)
        runs, run = pool.shape[2], pool.shape[4]
        pages = batch.compressed_pages[slot, index // (runs * run)]
        found = pool[pages, :, index // run % runs, :, index % run]
        return self._heads(found, len(index))

    def touched(self, name: str) -> int:
        """How many elements of a pool are no poison any more."""
        return int((~np.isnan(loaded(getattr(self, name), self.element))).sum())

    def copy(self) -> "Pools":
        """The same contents in other memory."""
        from tests.support.steps import aligned

        fields: dict[str, Any] = {
            n: aligned(getattr(self, n)) for n in ("k", "v", "fine", "coarse")
        }
        sizes = (self.kv_heads, self.block_size, self.stride, self.head_dim, self.element)
        return Pools(*sizes, **fields)

    def _heads(self, found: np.ndarray, count: int) -> np.ndarray:
        flat = np.ascontiguousarray(found).reshape(count, self.kv_heads, self.head_dim)
        return loaded(flat, self.element)
