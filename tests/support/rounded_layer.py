"""One layer whose full pages are rounded, for kernel tests: texts, caches, the reference."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sala_compile.codegen.kernels.page_rows import RoundedShape
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.sala_ir.attention_sizes import Heads, PageRounding
from sala_compile.sala_ir.reference import RoundedPages
from sala_compile.sala_ir.reference.rounded_pages import PAGE_PARTS, RoundedCache
from tests.support.pools import loaded, rounded, stored
from tests.support.steps import EXTRA, Step, aligned, padded, poisoned

START = 5
"""Foreign columns before the queries, and between the others."""
PAGES = RoundedCache._fields[:PAGE_PARTS]
NAMES = {"k": "k_words", "v": "v_words"}
"""What kernels call the parts, where they have other names."""


@dataclass(frozen=True, slots=True)
class RoundedCase:
    """Sizes of a layer; `budget` is the width of lists of blocks, 0 without."""

    heads: int
    kv_heads: int
    size: int
    page: int
    bits: tuple[int, int]
    element: Element
    recent: int
    budget: int = 0
    page_blocks: int = 1
    gate: bool = False

    @property
    def shape(self) -> RoundedShape:
        """The shape of the cache."""
        sizes = (self.kv_heads, self.page, self.size, self.element)
        return RoundedShape(*sizes, *self.bits, self.recent)

    @property
    def rule(self) -> RoundedPages:
        """The cache of the reference."""
        rounding = PageRounding(*self.bits, self.recent)
        return RoundedPages(
            self.kv_heads, self.page, rounding, lambda values: rounded(values, self.element)
        )

    @property
    def block(self) -> int:
        """Tokens of a block."""
        return self.page // self.page_blocks

    @property
    def all_heads(self) -> Heads:
        """What the reference attends with."""
        return Heads(self.heads, self.kv_heads, self.size, 0.3)

    @property
    def starts(self) -> dict[str, int]:
        """The first columns of queries, keys, values and gates in one buffer."""
        found, place = {}, START
        for name, heads in (
            ("q", self.heads),
            ("k", self.kv_heads),
            ("v", self.kv_heads),
            ("gate", self.heads),
        ):
            found[name] = place
            place += heads * self.size + START
        return found | {"pitch": padded(place)}

    @property
    def views(self) -> dict[str, int]:
        """The same as fields of specs, without the gate."""
        starts = self.starts
        views = {f"{name}_start": starts[name] for name in ("k", "v")}
        return views | {f"{name}_pitch": starts["pitch"] for name in ("k", "v")}


@dataclass
class RoundedLayer:
    """Texts of some sequences and the part of them that a step reads, after their histories."""

    case: RoundedCase
    batch: Step
    text: list[np.ndarray]
    """For each sequence all of its rows [tokens, pitch]."""
    cache: dict[int, Any]
    pools: dict[str, np.ndarray]

    @classmethod
    def random(cls, case: RoundedCase, batch: Step, seed: int = 0) -> "RoundedLayer":
        """Random texts; caches of their histories, poisoned wherever nothing was written."""
        random, starts = np.random.default_rng(seed), case.starts
        text: list[np.ndarray] = []
        for part in batch.reference:
            rows = poisoned(part.length, starts["pitch"])
            for name in ("q", "k", "v", "gate"):
                heads = case.kv_heads if name in ("k", "v") else case.heads
                columns = slice(starts[name], starts[name] + heads * case.size)
                rows[:, columns] = random.standard_normal((part.length, heads * case.size))
                if name == "k":
                    rows[:, columns] *= random.uniform(0.2, 2, heads * case.size)
                    rows[:, columns] += random.standard_normal(heads * case.size)
            text.append(rows)
        made = cls(case, batch, text, {}, {})
        made._remember()
        return made

    def _remember(self) -> None:
        """The caches of the histories, by the reference, and the pools that hold them."""
        rule, slots = self.case.rule, max(self.batch.slots) + 3
        for rows, part in zip(self.text, self.batch.reference, strict=True):
            if part.history:
                past = replace(part, start=0, stop=part.history, history=0)
                k, v = (self.columns(rows, name)[: part.history] for name in ("k", "v"))
                cache = rule.round_pages(k, v, {}, _alone(past))
                self.cache |= rule.keep_recent(k, v, cache, _alone(past))
        for each in self.case.shape.pools():
            count = slots if each.name.startswith("recent") else self.batch.pages.size
            dims = [dim for dim in each.shape if isinstance(dim, int)]
            self.pools[each.name] = poisoned(count, *dims, dtype=np.dtype(each.dtype))
        for slot, cache in self.cache.items():
            self.write(slot, cache)

    def write(self, slot: int, cache: Any) -> None:
        """Put a sequence's cache into the pools."""
        for name in PAGES:
            pool = self.pools[NAMES.get(name, name)]
            for index, page in enumerate(getattr(cache, name)):
                pool[self.batch.pages[slot, index]] = self._stored(page)
        for name in ("recent_k", "recent_v"):
            self.pools[name][slot] = self._stored(getattr(cache, name))

    def _stored(self, values: np.ndarray) -> np.ndarray:
        return values if values.dtype == np.int32 else stored(values, self.case.element)

    def columns(self, rows: np.ndarray, name: str) -> np.ndarray:
        """Queries, keys, values or gates of rows, float64."""
        heads = self.case.kv_heads if name in ("k", "v") else self.case.heads
        start = self.case.starts[name]
        return rows[:, start : start + heads * self.case.size].astype(np.float64)

    @property
    def new(self) -> np.ndarray:
        """The rows of the step, and poison."""
        parts = zip(self.text, self.batch.reference, strict=True)
        rows = [text[part.history : part.length] for text, part in parts]
        return aligned(np.concatenate([*rows, poisoned(EXTRA, self.case.starts["pitch"])]))

    def live(self, name: str) -> np.ndarray:
        """Queries, keys, values or gates of the step."""
        return self.columns(self.new[: self.batch.tokens], name)

    def read(self, slot: int, length: int) -> RoundedCache:
        """What the pools hold of a sequence."""
        pages = self.batch.pages[slot, : length // self.case.page]
        found = [self._loaded(self.pools[NAMES.get(name, name)][pages]) for name in PAGES]
        recent = [self._loaded(self.pools[name][slot]) for name in ("recent_k", "recent_v")]
        return RoundedCache(*found, *recent)

    def _loaded(self, values: np.ndarray) -> np.ndarray:
        flat = np.ascontiguousarray(values)
        return flat if flat.dtype == np.int32 else loaded(flat, self.case.element)

    def after(self, counts: tuple[int, ...]) -> "RoundedLayer":
        """The layer of the next tokens, with the same pools: histories longer by `counts`."""
        history = tuple(a + b for a, b in zip(self.batch.history, counts, strict=True))
        left = tuple(a - b for a, b in zip(self.batch.counts, counts, strict=True))
        return replace(self, batch=replace(self.batch, history=history, counts=left))

    def first(self, counts: tuple[int, ...]) -> "RoundedLayer":
        """The layer of the first new tokens, with the same pools."""
        text = [
            rows[: have + count]
            for rows, have, count in zip(self.text, self.batch.history, counts, strict=True)
        ]
        return replace(self, text=text, batch=replace(self.batch, counts=counts))


def _alone(part: Any) -> Any:
    from sala_compile.sala_ir.reference import Batch

    return Batch((part,))
