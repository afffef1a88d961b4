"""Keys and values of a step of append_kv and compress_keys: random inputs, and the reference."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from sala_compile.codegen.kernels.append_kv.spec import Spec as AppendSpec
from sala_compile.codegen.kernels.compress_keys.spec import Spec as CompressSpec
from sala_compile.sala_ir.reference.cache import complete_windows, window_means
from tests.support.pools import rounded
from tests.support.step_keys import BF16, CASES, START, Case, StepKeys
from tests.support.steps import EXTRA, Step, padded, poisoned

CACHED_CASES = (*CASES, (1, 24, 24, 8, BF16), (2, 64, 32, 34, BF16))


def specs_of(case: Case) -> tuple[AppendSpec, CompressSpec]:
    """Specs whose k and v are in one buffer."""
    kv_heads, block, stride, size, element = case
    used = kv_heads * size
    pitch = padded(START + 2 * used)
    return (
        AppendSpec(kv_heads, block, size, element, START, pitch, START + used, pitch),
        CompressSpec(kv_heads, block, size, stride, element, element),
    )


@dataclass
class CachedKeys(StepKeys):
    """Rows with keys, then values; `past` [2, tokens, kv heads, head size] of a slot."""

    WRITTEN = ("k_pool", "v_pool", "fine", "coarse")

    @classmethod
    def random(cls, case: Case, batch: Step, pool_type: Any) -> Self:
        """Pools with the keys and values of histories, and no windows of them."""
        kv_heads, block, stride, size, element = case
        random, used = np.random.default_rng(batch.tokens), 2 * kv_heads * size
        rows = poisoned(batch.tokens + EXTRA, specs_of(case)[0].k_pitch)
        rows[: batch.tokens, START : START + used] = random.standard_normal((batch.tokens, used))
        sizes = {"kv_heads": kv_heads, "block_size": block, "stride": stride, "head_dim": size}
        made = cls(case, batch, rows, pool_type.poisoned(batch, **sizes, element=element), {})
        for part in batch.reference:
            past = random.standard_normal((2, part.history, kv_heads, size))
            made.past[part.slot] = rounded(past, element)
            made.pools.fill(batch, part.slot, *made.past[part.slot])
        return made

    @property
    def buffers(self) -> dict[str, np.ndarray]:
        """What both kernels take besides the batch."""
        pools = self.pools
        stored = {"k_pool": pools.k, "v_pool": pools.v, "fine": pools.fine, "coarse": pools.coarse}
        return {"k": self.rows, "v": self.rows, **stored}

    @property
    def tokens(self) -> int:
        """Tokens of all sequences, those of their histories too."""
        return sum(self.batch.history) + self.batch.tokens

    def check(self) -> None:
        """Compare what the kernels wrote with the reference; nothing else may have been touched."""
        kv_heads, _, stride, size, element = self.case
        used = kv_heads * size
        shape = (self.batch.tokens, kv_heads, size)
        columns = (self.rows[: shape[0], at : at + used] for at in (START, START + used))
        new = [rounded(part.reshape(shape), element) for part in columns]
        written = {"fine": 0, "coarse": 0}
        for part in self.batch.reference:
            kept = [
                np.concatenate([past, rows[part.rows]])
                for past, rows in zip(self.past[part.slot], new, strict=True)
            ]
            for name, expected in zip(("k", "v"), kept, strict=True):
                found = self.pools.rows(name, self.batch, part.slot, part.length)
                assert np.array_equal(found, expected)
            for name, factor in (("fine", 1), ("coarse", 4)):
                window, span = 2 * factor * stride, factor * stride
                first, last = (
                    complete_windows(tokens, window, span) for tokens in (part.history, part.length)
                )
                means = window_means(kept[0], first, last, window, span)
                self.check_means(part.slot, part.length, name, first, means)
                written[name] += last - first
        for name, count in written.items():
            self.check_count(name, count)
        self.check_count("k", self.tokens)
