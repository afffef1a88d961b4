"""append_kv and compress_keys: pages, pairs, windows, against the reference."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from sala_compile.codegen.kernels.append_kv import cpu as append_kv
from sala_compile.codegen.kernels.compress_keys import cpu as compress_keys
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.sala_ir.reference.cache import window_means
from tests.support.pools import Pools, rounded
from tests.support.steps import EXTRA, Library, Step, padded, poisoned, step

HOST = CpuTarget.host()
PORTABLE = CpuTarget("x86-64-v3")
BF16, F32 = Element.BF16, Element.F32

CASES = (
    # kv heads, block, stride, head size, element
    (2, 64, 16, 128, BF16),
    (1, 16, 4, 10, BF16),
    (3, 32, 16, 16, F32),
    (2, 24, 8, 30, F32),
    (1, 24, 24, 8, BF16),
    (2, 64, 32, 34, BF16),
)
PORTABLE_CASES = (CASES[1], CASES[3])
Case = tuple[int, int, int, int, Element]


def specs_of(case: Case) -> tuple[append_kv.Spec, compress_keys.Spec]:
    """Specs whose k and v stand behind three foreign columns of one buffer."""
    kv_heads, block, stride, size, element = case
    used = kv_heads * size
    pitch = padded(3 + 2 * used)
    return (
        append_kv.Spec(kv_heads, block, size, element, 3, pitch, 3 + used, pitch),
        compress_keys.Spec(kv_heads, block, size, stride, element, element),
    )


@cache
def library(target: CpuTarget) -> Library:
    """The kernels of all cases for a target."""
    functions = []
    for case in CASES if target == HOST else PORTABLE_CASES:
        append, compress = specs_of(case)
        functions += [
            append_kv.FAMILY.build(append, target),
            compress_keys.FAMILY.build(compress, target),
        ]
    return Library(functions, target)


def run(case: Case, target: CpuTarget, batch: Step, merged: np.ndarray, pools: Pools) -> None:
    """Append the rows of `merged` and compress."""
    append, compress = specs_of(case)
    names = ("control", "token_sequence", "token_position", "slots", "page_table")
    fields = [batch.field(name) for name in names]
    library(target).call(append.symbol, *fields, merged, merged, pools.k, pools.v)
    names = ("control", "offsets", "history", "slots", "page_table", "compressed_table")
    fields = [batch.field(name) for name in names]
    library(target).call(compress.symbol, *fields, pools.k, pools.fine, pools.coarse)


def inputs(case: Case, tokens: int, seed: int = 0) -> np.ndarray:
    """A merged buffer with random keys and values, and NaN elsewhere."""
    append, _ = specs_of(case)
    used = 2 * case[0] * case[3]
    merged = poisoned(tokens + EXTRA, append.k_pitch)
    merged[:tokens, 3 : 3 + used] = np.random.default_rng(seed).standard_normal((tokens, used))
    return merged


def split(case: Case, merged: np.ndarray, tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """The keys and values [tokens, kv heads, head size], rounded as stored."""
    kv_heads, _, _, size, element = case
    used = kv_heads * size
    shape = (tokens, kv_heads, size)
    return tuple(
        rounded(merged[:tokens, start : start + used].reshape(shape), element)
        for start in (3, 3 + used)
    )


def pools_of(case: Case, batch: Step) -> Pools:
    kv_heads, block, stride, size, element = case
    return Pools.poisoned(
        batch,
        kv_heads=kv_heads,
        block_size=block,
        stride=stride,
        head_dim=size,
        element=element,
    )


def check(case: Case, pools: Pools, batch: Step, slot: int, keys: np.ndarray) -> None:
    """The compressed keys of a slot are the means of `keys` at both levels."""
    stride, element = case[2], case[4]
    for level, factor in (("fine", 1), ("coarse", 4)):
        found = pools.compressed(batch, slot, len(keys), level)
        means = window_means(keys, 0, len(found), 2 * factor * stride, factor * stride)
        tolerance = 2**-8 if element is BF16 else 2e-7
        assert np.abs(found - means).max(initial=0) <= tolerance * np.abs(means).max(initial=1)


@pytest.mark.parametrize(
    ("case", "target"),
    [(case, HOST) for case in CASES] + [(case, PORTABLE) for case in PORTABLE_CASES],
    ids=str,
)
def test_one_step(case: Case, target: CpuTarget) -> None:
    block, stride = case[1], case[2]
    window = 2 * stride
    counts = (window - 1, window, 4 * window - 1, 4 * window, 5 * block + 1, 1, 64 * block + window)
    batch = step(counts, block_size=block, context=66 * block)
    merged = inputs(case, batch.tokens)
    pools = pools_of(case, batch)
    run(case, target, batch, merged, pools)
    keys, values = split(case, merged, batch.tokens)
    for part in batch.reference:
        assert np.array_equal(pools.keys(batch, part.slot, part.length), keys[part.rows])
        assert np.array_equal(pools.values(batch, part.slot, part.length), values[part.rows])
        check(case, pools, batch, part.slot, keys[part.rows])
    kept = sum(case[0] * case[3] * count for count in counts)
    assert pools.touched("k") == kept
    windows = sum(max(0, count // stride - 1) for count in counts)
    assert pools.touched("fine") == windows * case[0] * case[3]


@pytest.mark.parametrize("case", CASES[:4], ids=str)
def test_pieces_are_bit_equal_to_one_step(case: Case) -> None:
    block = case[1]
    whole = step((5 * block + 3, 2 * block), block_size=block)
    merged = inputs(case, whole.tokens)
    once, pieces = pools_of(case, whole), pools_of(case, whole)
    run(case, HOST, whole, merged, once)
    random = np.random.default_rng(1)
    done = [0, 0]
    while done[0] < whole.counts[0] or done[1] < whole.counts[1]:
        counts = tuple(
            min(int(random.integers(1, 2 * block)), total - have)
            for total, have in zip(whole.counts, done, strict=True)
        )
        now = replace(whole, counts=counts, history=tuple(done), call_lengths=whole.counts)
        rows = [
            merged[start + have : start + have + count]
            for start, have, count in zip((0, whole.counts[0]), done, counts, strict=True)
        ]
        part = poisoned(sum(counts) + EXTRA, merged.shape[1])
        part[: sum(counts)] = np.concatenate(rows)
        run(case, HOST, now, part, pieces)
        done = [have + count for have, count in zip(done, counts, strict=True)]
    for name in ("k", "v", "fine", "coarse"):
        assert np.array_equal(
            getattr(once, name).view(np.uint8), getattr(pieces, name).view(np.uint8)
        ), name


@pytest.mark.parametrize("count", [1, 2, 3])
def test_an_even_slot_clears_its_partner(count: int) -> None:
    case = CASES[1]
    batch = step((count,), block_size=case[1])
    pools = pools_of(case, batch)
    run(case, HOST, batch, inputs(case, count), pools)
    values = pools.values(batch, batch.slots[0], count + count % 2)
    assert np.isfinite(values).all()
    assert (values[count:] == 0).all()
