"""One sparse layer for kernel tests: constants, random inputs, poisoned caches."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.sala_ir.attention_sizes import BlockSelection
from sala_compile.sala_ir.reference.cache import window_means
from tests.support.pools import rounded
from tests.support.steps import EXTRA, Step, padded, poisoned

START = 7
"""Foreign columns before the queries and behind them before the gate."""


@dataclass(frozen=True, slots=True)
class SparseCase:
    """Sizes of a layer."""

    heads: int
    kv_heads: int
    size: int
    block: int
    stride: int
    element: Element
    out_element: Element = Element.F32
    gate: bool = True
    init: int = 1
    window: int = 2
    topk: int = 4
    dense_len: int = 64
    page_blocks: int = 1

    @property
    def page(self) -> int:
        """Tokens of a page."""
        return self.page_blocks * self.block

    @property
    def used(self) -> int:
        """Columns of the queries."""
        return self.heads * self.size

    @property
    def pitch(self) -> int:
        """Floats from row to row of the merged buffer."""
        return padded(2 * START + 2 * self.used)

    @property
    def gate_start(self) -> int:
        """First column of the gate in the merged buffer."""
        return 2 * START + self.used

    @property
    def selection(self) -> BlockSelection:
        """What the reference selects by."""
        return BlockSelection(
            2 * self.stride,
            self.stride,
            self.block,
            self.init,
            self.window,
            self.topk,
            self.dense_len,
        )


@dataclass(frozen=True, slots=True)
class SparseLayer:
    """Inputs and caches of a step: whole histories in poisoned pools of `pool_type`."""

    pool_type: ClassVar[Any]
    case: Any
    batch: Step
    merged: np.ndarray
    pools: Any
    kv: dict[int, tuple[np.ndarray, np.ndarray]]
    compressed: dict[int, tuple[np.ndarray, np.ndarray]]

    @classmethod
    def random(cls, case: Any, batch: Step, seed: int = 0) -> Self:
        """Random keys, values, queries and gates."""
        random = np.random.default_rng(seed)
        merged = poisoned(batch.tokens + EXTRA, case.pitch)
        for start in (START, case.gate_start):
            columns = random.standard_normal((batch.tokens, case.used))
            merged[: batch.tokens, start : start + case.used] = columns
        pools = cls.pool_type.poisoned(
            batch,
            kv_heads=case.kv_heads,
            block_size=case.page,
            stride=case.stride,
            head_dim=case.size,
            element=case.element,
        )
        kv, compressed = {}, {}
        for part in batch.reference:
            shape = (part.length, case.kv_heads, case.size)
            keys, values = (
                rounded(random.standard_normal(shape) * factor, case.element) for factor in (3, 1)
            )
            pools.fill(batch, part.slot, keys, values)
            levels = tuple(_compressed(keys, case, factor) for factor in (1, 4))
            pools.fill_compressed(batch, part.slot, *levels)
            kv[part.slot], compressed[part.slot] = (keys, values), levels
        return cls(case, batch, merged, pools, kv, compressed)

    def queries(self) -> np.ndarray:
        """The queries, rounded as the kernels round them: [tokens, heads * size]."""
        q = self.merged[: self.batch.tokens, START : START + self.case.used]
        return rounded(q, self.case.element)

    def gates(self) -> np.ndarray | None:
        """The gates of all tokens."""
        if not self.case.gate:
            return None
        start = self.case.gate_start
        columns = self.merged[: self.batch.tokens, start : start + self.case.used]
        return columns.astype(np.float64)


def _compressed(keys: np.ndarray, case: SparseCase, factor: int) -> np.ndarray:
    size, stride = 2 * factor * case.stride, factor * case.stride
    windows = max(0, len(keys) // stride - 1)
    return rounded(window_means(keys, 0, windows, size, stride), case.element)
