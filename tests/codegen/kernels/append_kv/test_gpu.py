"""append_kv and compress_keys on a GPU: pages and windows, against the reference."""

from dataclasses import replace

import numpy as np
import pytest

from sala_compile.codegen.kernels.append_kv import gpu as append_kv
from sala_compile.codegen.kernels.compress_keys.gpu import kernel as compress_keys
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.sala_ir.reference.cache import complete_windows, window_means
from tests.support.gpu_pools import GpuPools
from tests.support.interpreted import run
from tests.support.pools import rounded
from tests.support.steps import EXTRA, Step, padded, poisoned, step

TARGET = CudaTarget(90)
BF16, F32 = Element.BF16, Element.F32
START = 3
"""Foreign columns before the keys."""

CASES = (
    # kv heads, block, stride, head size, element
    (2, 64, 16, 128, BF16),
    (1, 16, 4, 10, BF16),
    (3, 32, 16, 16, F32),
    (2, 24, 8, 30, F32),
    (1, 24, 24, 8, BF16),
)
Case = tuple[int, int, int, int, Element]


def specs_of(case: Case) -> tuple[append_kv.Spec, compress_keys.Spec]:
    """Specs whose k and v stand behind foreign columns of one buffer."""
    kv_heads, block, stride, size, element = case
    used = kv_heads * size
    pitch = padded(START + 2 * used)
    return (
        append_kv.Spec(kv_heads, block, size, element, START, pitch, START + used, pitch),
        compress_keys.Spec(kv_heads, block, size, stride, element, element),
    )


def run_both(case: Case, batch: Step, merged: np.ndarray, pools: GpuPools) -> None:
    """Append the rows of `merged` and compress, in grids of a bucket that is larger."""
    append, compress = specs_of(case)
    sizes = {"tokens": batch.tokens + 19, "sequences": len(batch.counts) + 1}
    fields = batch.fields(append_kv.FAMILY.arguments(append, append_kv.Schedule()))
    keys = {"k": merged, "v": merged, "k_pool": pools.k, "v_pool": pools.v}
    run(append_kv.FAMILY.build(append, TARGET), fields | keys, sizes)
    fields = batch.fields(compress_keys.arguments(compress, compress_keys.Schedule()))
    keys = {"k_pool": pools.k, "fine": pools.fine, "coarse": pools.coarse}
    run(compress_keys.FAMILY.build(compress, TARGET), fields | keys, sizes)


def inputs(case: Case, tokens: int) -> np.ndarray:
    """A merged buffer with random keys and values, and NaN elsewhere."""
    append, _ = specs_of(case)
    used = 2 * case[0] * case[3]
    merged = poisoned(tokens + EXTRA, append.k_pitch)
    random = np.random.default_rng(tokens)
    merged[:tokens, START : START + used] = random.standard_normal((tokens, used))
    return merged


def split(case: Case, merged: np.ndarray, tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """The keys and values [tokens, kv heads, head size], rounded as stored."""
    kv_heads, _, _, size, element = case
    used = kv_heads * size
    columns = (merged[:tokens, at : at + used] for at in (START, START + used))
    k, v = (rounded(x.reshape(tokens, kv_heads, size), element) for x in columns)
    return k, v


def pools_of(case: Case, batch: Step) -> GpuPools:
    kv_heads, block, stride, size, element = case
    return GpuPools.poisoned(
        batch, kv_heads=kv_heads, block_size=block, stride=stride, head_dim=size, element=element
    )


@pytest.mark.parametrize("case", CASES, ids=str)
def test_one_step(case: Case) -> None:
    """Sequences that end at every boundary; two go on, one into the next compressed page."""
    kv_heads, block, stride, size, element = case
    window = 2 * stride
    counts = (window - 1, window, 4 * window - 1, 4 * window, 1, stride + 1, window + 3)
    history = (0, 0, 0, 0, 0, 3 * block - 1, 64 * block - stride)
    batch = step(counts, history, block_size=block, context=66 * block)
    merged = inputs(case, batch.tokens)
    pools = pools_of(case, batch)
    new = split(case, merged, batch.tokens)
    random = np.random.default_rng(5)
    past = {
        part.slot: rounded(random.standard_normal((2, part.history, kv_heads, size)), element)
        for part in batch.reference
    }
    for slot, (keys, values) in past.items():
        pools.fill(batch, slot, keys, values)
    run_both(case, batch, merged, pools)
    windows = {"fine": 0, "coarse": 0}
    for part in batch.reference:
        for name, index in (("k", 0), ("v", 1)):
            rows = np.concatenate([past[part.slot][index], new[index][part.rows]])
            assert np.array_equal(pools.rows(name, batch, part.slot, part.length), rows)
        keys = np.concatenate([past[part.slot][0], new[0][part.rows]])
        for level, factor in (("fine", 1), ("coarse", 4)):
            span = factor * stride
            first = complete_windows(part.history, 2 * span, span)
            found = pools.compressed(level, batch, part.slot, part.length)
            means = window_means(keys, first, len(found), 2 * span, span)
            tolerance = 2**-8 if element is BF16 else 3e-7
            assert np.abs(found[first:] - means).max(initial=0) <= tolerance * 4
            windows[level] += len(found) - first
    assert all(windows.values())
    for level, count in windows.items():
        assert pools.touched(level) == count * kv_heads * size
    assert (
        pools.touched("k")
        == pools.touched("v")
        == sum(map(sum, (counts, history))) * (kv_heads * size)
    )


@pytest.mark.parametrize("case", CASES[1:3], ids=str)
def test_pieces_are_bit_equal_to_one_step(case: Case) -> None:
    block = case[1]
    whole = step((3 * block + 3, block), block_size=block)
    merged = inputs(case, whole.tokens)
    once, pieces = pools_of(case, whole), pools_of(case, whole)
    run_both(case, whole, merged, once)
    random = np.random.default_rng(1)
    done = [0, 0]
    while done != list(whole.counts):
        counts = tuple(
            min(int(random.integers(1, 2 * block)), total - have)
            for total, have in zip(whole.counts, done, strict=True)
        )
        now = replace(whole, counts=counts, history=tuple(done), call_lengths=whole.counts)
        starts = zip((0, whole.counts[0]), done, counts, strict=True)
        rows = [merged[at + have : at + have + count] for at, have, count in starts]
        run_both(case, now, np.concatenate(rows), pieces)
        done = [have + count for have, count in zip(done, counts, strict=True)]
    for name in ("k", "v", "fine", "coarse"):
        assert np.array_equal(
            getattr(once, name).view(np.uint8), getattr(pieces, name).view(np.uint8)
        ), name
