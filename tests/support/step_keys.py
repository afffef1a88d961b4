"""What kernels that store keys have in common: cases, rows of a step, checks of window means."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from sala_compile.codegen.kernels.tir.element import Element
from tests.support.steps import EXTRA, Step, aligned, poisoned, step

BF16, F32 = Element.BF16, Element.F32
START = 3
"""Foreign columns before the keys."""

Case = tuple[int, int, int, int, Element]
CASES: tuple[Case, ...] = (
    # kv heads, block, stride, head size, element
    (2, 64, 16, 128, BF16),
    (1, 16, 4, 10, BF16),
    (3, 32, 16, 16, F32),
    (2, 24, 8, 30, F32),
)


def boundary_step(case: Case) -> Step:
    """Sequences that end at every boundary; three continue, one into the next compressed page."""
    _, block, stride, _, _ = case
    window = 2 * stride
    counts = (window - 1, window, 4 * window - 1, 4 * window, 1, stride + 1, 9 * window + 3)
    history = (0, 0, 0, 0, 0, 3 * block - 1, 64 * block - stride)
    return step(counts, history, block_size=block, context=84 * block)


@dataclass
class StepKeys:
    """Rows of a step with keys in them, NaN elsewhere; pools; `past` rows of a slot's history."""

    case: Case
    batch: Step
    rows: np.ndarray
    pools: Any
    past: dict[int, np.ndarray]

    WRITTEN: ClassVar[tuple[str, ...]] = ()
    """The buffers that kernels write."""

    @classmethod
    def random(cls, case: Case, batch: Step, pool_type: Any) -> Self:
        """Poisoned pools; what they need of sequences with a history."""
        raise NotImplementedError

    @property
    def buffers(self) -> dict[str, np.ndarray]:
        """What kernels take besides the batch."""
        raise NotImplementedError

    def copy(self) -> Self:
        """The same before any kernel ran."""
        return type(self).random(self.case, self.batch, type(self.pools))

    def piece(self, done: Sequence[int], counts: Sequence[int]) -> Self:
        """The step of the next `counts` tokens of every sequence, after `done` of them."""
        past = [have + more for have, more in zip(self.batch.history, done, strict=True)]
        batch = replace(self.batch, counts=tuple(counts), history=tuple(past))
        starts = zip(self.batch.offsets, done, counts, strict=False)
        rows = [self.rows[at + have : at + have + count] for at, have, count in starts]
        poison = poisoned(EXTRA, self.rows.shape[1])
        return replace(self, batch=batch, rows=aligned(np.concatenate([*rows, poison])))

    def pieces(self, seed: int = 1) -> list[Self]:
        """The same tokens in steps of random sizes."""
        random, total = np.random.default_rng(seed), self.batch.counts
        most = 5 * self.case[2]
        found, done = [], [0] * len(total)
        while done != list(total):
            counts = [
                min(int(random.integers(1, most)), count - have)
                for count, have in zip(total, done, strict=True)
            ]
            found.append(self.piece(done, counts))
            done = [have + count for have, count in zip(done, counts, strict=True)]
        return found

    def check_pieces(self, run: Callable[[Self], None]) -> None:
        """Run the step whole and in pieces: the same bits."""
        split = self.copy()
        run(self)
        for piece in split.pieces():
            run(piece)
        whole, parts = self.buffers, split.buffers
        for name in self.WRITTEN:
            assert np.array_equal(whole[name].view(np.uint8), parts[name].view(np.uint8)), name

    def check_means(self, slot: int, length: int, level: str, first: int, means: Any) -> None:
        """Compare the keys of a level from `first` on with `means`."""
        found = self.pools.compressed(level, self.batch, slot, length)[first:]
        largest = np.abs(means).max(initial=1)
        tolerance = 2**-8 if self.case[-1] is BF16 else 1e-6
        assert np.abs(found - means).max(initial=0) <= tolerance * largest

    def check_count(self, name: str, rows: int) -> None:
        """So many rows of a pool were written, and some."""
        assert self.pools.touched(name) == rows * self.case[0] * self.case[3] > 0
