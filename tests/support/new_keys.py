"""Keys that no cache holds: random inputs of a step of compress_new_keys, and the reference."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from sala_compile.codegen.kernels.compress_new_keys.spec import Spec
from sala_compile.sala_ir.reference import compress_new_keys
from sala_compile.sala_ir.reference.cache import complete_windows
from tests.support.pools import loaded, rounded, stored
from tests.support.step_keys import START, Case, StepKeys
from tests.support.steps import EXTRA, Step, padded, poisoned, step


def spec_of(case: Case) -> Spec:
    """The spec of a case whose keys stand after foreign columns."""
    kv_heads, block, stride, size, element = case
    pitch = padded(START + kv_heads * size + 2)
    return Spec(kv_heads, block, size, stride, element, element, START, pitch, 8 * stride)


@dataclass
class NewKeys(StepKeys):
    """Rows with keys; `past` are those that were kept of the tokens before, in their places."""

    recent: np.ndarray

    WRITTEN = ("recent", "fine", "coarse")

    @classmethod
    def random(cls, case: Case, batch: Step, pool_type: Any) -> Self:
        """Poisoned pools; the recent keys of sequences with a history."""
        kv_heads, block, stride, size, element = case
        spec, random = spec_of(case), np.random.default_rng(batch.tokens)
        rows = poisoned(batch.tokens + EXTRA, spec.k_pitch)
        used = kv_heads * size
        rows[: batch.tokens, START : START + used] = random.standard_normal((batch.tokens, used))
        sizes = {"kv_heads": kv_heads, "block_size": block, "stride": stride, "head_dim": size}
        pools = pool_type.poisoned(batch, **sizes, element=element)
        shape = (kv_heads, spec.recent, size)
        recent = poisoned(len(batch.pages) + 2, *shape, dtype=np.dtype(element.dtype))
        made = cls(case, batch, rows, pools, {}, recent)
        for part in batch.reference:
            if part.history:
                made.past[part.slot] = rounded(random.standard_normal(shape), element)
                made.recent[part.slot] = stored(made.past[part.slot], element)
        return made

    @classmethod
    def drafted(cls, case: Case, history: int, pool_type: Any) -> Self:
        """Four tokens of a sequence that drafts, and three of one that does not."""
        both = step((4, 3), (history, 9), block_size=case[1], generated=(True, True))
        return cls.random(case, replace(both, slots=(0, 1), checkpoints=(2, -1)), pool_type)

    def check_drafts(self, run: Callable[[Self], None]) -> None:
        """Run four drafted tokens, and one after the other: the same keys after each of them."""
        alone = self.copy()
        run(self)
        kept, recent = self.recent.view(np.uint8), alone.recent.view(np.uint8)
        before = recent.copy()
        for length in range(4):
            single = alone.piece([length, 0], [1, 0])
            run(replace(single, batch=replace(single.batch, checkpoints=())))
            assert np.array_equal(recent[0], kept[2 + length if length < 3 else 0])
        assert np.array_equal(kept[5:], before[5:])

    @property
    def buffers(self) -> dict[str, np.ndarray]:
        """What a kernel takes besides the batch."""
        pools = {name: getattr(self.pools, name) for name in ("fine", "coarse")}
        return {"k": self.rows, "recent": self.recent, **pools}

    def check(self) -> None:
        """Compare what a kernel wrote with the reference; nothing else may have been touched."""
        kv_heads, _, stride, size, element = self.case
        rows = self.rows[: self.batch.tokens, START : START + kv_heads * size].astype(np.float64)
        nothing = np.zeros((10**4, kv_heads, size))
        recent, compressed = compress_new_keys(
            rows,
            self.past,
            {slot: (nothing, nothing) for slot in self.past},
            self.batch.reference,
            kv_heads=kv_heads,
            kernel_size=2 * stride,
            kernel_stride=stride,
            recent_rounding=lambda keys: rounded(keys, element),
        )
        written = {"fine": 0, "coarse": 0}
        for part in self.batch.reference:
            found = loaded(np.ascontiguousarray(self.recent[part.slot]), element)
            assert np.array_equal(found, recent[part.slot])
            for index, (name, factor) in enumerate((("fine", 1), ("coarse", 4))):
                span = factor * stride
                first = complete_windows(part.history, 2 * span, span)
                means = compressed[part.slot][index][first:]
                self.check_means(part.slot, part.length, name, first, means)
                written[name] += len(means)
        for name, count in written.items():
            self.check_count(name, count)
