"""The kernels of a sparse layer of the released sizes, beside what the machine can do, in one run.

    python -m benchmarks.kernels.sparse --threads 2 --seconds 30

Scoring compressed keys is compared with the rate of multiply-adds and with the time to read the
keys, attention over the chosen blocks likewise. Keys and values are random, pages shuffled.
"""

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.kernels.linear_cases import aligned
from benchmarks.threads import use_threads
from sala_compile.codegen.kernels.attend_blocks.cpu import kernel as attend_blocks
from sala_compile.codegen.kernels.select_blocks.cpu import kernel as select_blocks
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.codegen.write.cpu_library import compile_functions
from sala_compile.runtime.artifact.ceilings import Ceiling
from sala_compile.runtime.common.timing import Sample, sample, summarise

Work = Callable[[], object]
HEADS, KV_HEADS, SIZE, BLOCK, STRIDE = 32, 2, 128, 64, 16
SELECT = select_blocks.Spec(
    num_heads=HEADS,
    kv_heads=KV_HEADS,
    head_dim=SIZE,
    scale=SIZE**-0.5,
    init_blocks=1,
    window_blocks=32,
    topk=64,
    dense_len=8192,
    block_size=BLOCK,
    kernel_size=2 * STRIDE,
    kernel_stride=STRIDE,
    element=Element.BF16,
    q_start=0,
    q_pitch=HEADS * SIZE,
)
ATTEND = attend_blocks.Spec(
    num_heads=HEADS,
    kv_heads=KV_HEADS,
    head_dim=SIZE,
    block_size=BLOCK,
    scale=SIZE**-0.5,
    element=Element.BF16,
    out_element=Element.BF16,
    budget=SELECT.budget,
    q_start=0,
    q_pitch=HEADS * SIZE,
    gate=False,
)
PAGES = 1024
"""Pages of keys and values that the lists choose from."""


@dataclass(frozen=True, slots=True)
class Case:
    """`tokens` tokens in a row, the first at `position`; operations and bytes read by all."""

    kind: str
    tokens: int
    position: int

    @property
    def name(self) -> str:
        """How the table names it."""
        return f"{self.kind}, {self.tokens} at {self.position >> 10}K"

    @property
    def keys(self) -> int:
        """Keys that one query meets: compressed ones of both levels, or those of its blocks."""
        if self.kind == "attend":
            return SELECT.budget * BLOCK
        scored = (self.position // BLOCK - SELECT.window_blocks) * SELECT.ratio + 1
        coarse = SELECT.levels[1]
        return scored + (self.position + 1 - coarse.size) // coarse.stride + 1

    @property
    def operations(self) -> int:
        """Floating-point operations of products."""
        products = 2 if self.kind == "attend" else 1
        return 2 * products * self.keys * SIZE * HEADS * self.tokens

    @property
    def bytes(self) -> int:
        """Bytes of keys (and values) of one query."""
        arrays = 2 if self.kind == "attend" else 1
        return arrays * 2 * self.keys * SIZE * KV_HEADS


CASES = (
    Case("select", 1, 16 << 10),
    Case("select", 1, 128 << 10),
    Case("select", 1, (1 << 20) - 1),
    Case("select", 16, 32 << 10),
    Case("attend", 1, 32 << 10),
    Case("attend", 16, 32 << 10),
)


def random_pool(pages: int, *shape: int) -> np.ndarray:
    """Random bf16 numbers below 2 in pages."""
    pool = aligned((pages, *shape), "uint16")
    some = np.random.default_rng(0).standard_normal(1 << 20).astype(np.float32)
    flat = pool.reshape(-1)
    for start in range(0, flat.size, some.size):
        part = flat[start : start + some.size]
        part[...] = (some.view(np.uint32) >> 16).astype(np.uint16)[: part.size]
    return pool


class Kernels:
    """The kernels of this project over one set of pools, and the ceilings."""

    def __init__(self, target: CpuTarget, threads: int) -> None:
        """Compile everything for this machine and fill the pools."""
        from tvm_ffi import from_dlpack

        from benchmarks.kernels.ceilings import CeilingWorks

        use_threads(threads)
        self._tensor, self._threads = from_dlpack, threads
        functions = {
            SELECT.symbol: select_blocks.FAMILY.build(SELECT, target),
            ATTEND.symbol: attend_blocks.FAMILY.build(ATTEND, target),
        }
        self._module = compile_functions(functions, target)
        self._target = target
        ceilings = CeilingWorks(target, threads)
        self.scales = {name: ceilings.scales[name] for name in (Ceiling.READ, Ceiling.FLOAT32)}
        self.works: dict[str, Work] = {name: ceilings.works[name] for name in self.scales}
        self._select_works()
        self._attend_works()

    def _control(self, tokens: int) -> np.ndarray:
        control = aligned((16,), "int32")
        control[:4] = tokens, 1, tokens, self._threads
        return control

    def _call(self, symbol: str, *arrays: np.ndarray) -> Work:
        function, tensors = self._module[symbol], [self._tensor(array) for array in arrays]
        return lambda: function(*tensors)

    def _steps(self, case: Case) -> list[np.ndarray]:
        """Control, sequence and position of each token."""
        positions = aligned((case.tokens,), "int32")
        positions[:] = case.position - case.tokens + 1 + np.arange(case.tokens)
        return [self._control(case.tokens), integers(0, case.tokens), positions]

    def _select_works(self) -> None:
        schedule = select_blocks.FAMILY.default_schedule(SELECT, self._target)
        blocks = max(case.position for case in CASES) // BLOCK + 1
        pages = -(-blocks // 64)
        pools = [
            random_pool(pages, KV_HEADS, level.runs, SIZE // 2, level.run, 2)
            for level in SELECT.levels
        ]
        table = aligned((1, pages), "int32")
        table[0] = np.random.default_rng(1).permutation(pages)
        scratch = [
            aligned((self._threads, w.elements + w.elements_per_page * blocks), w.dtype)
            for w in select_blocks.FAMILY.workspaces(SELECT, schedule)
        ]
        for case in (case for case in CASES if case.kind == "select"):
            q = random_pool(case.tokens, HEADS * SIZE).astype(np.uint32) << 16
            queries = aligned(q.shape, "float32")
            queries[...] = q.view(np.float32)
            lists = aligned((case.tokens, KV_HEADS, SELECT.budget), "int32")
            outputs = (lists, aligned((case.tokens, KV_HEADS), "int32"))
            fields = [*self._steps(case), integers(case.position + 1, 1), integers(0, 1), table]
            self.works[case.name] = self._call(
                SELECT.symbol, *fields, queries, *pools, *outputs, *scratch
            )

    def _attend_works(self) -> None:
        schedule = attend_blocks.FAMILY.default_schedule(ATTEND, self._target)
        keys = random_pool(PAGES, KV_HEADS, SIZE // 2, BLOCK, 2)
        values = random_pool(PAGES, KV_HEADS, BLOCK // 2, SIZE, 2)
        random = np.random.default_rng(2)
        table = aligned((1, PAGES), "int32")
        table[0] = random.permutation(PAGES)
        scratch = [
            aligned((self._threads, each.elements), each.dtype)
            for each in attend_blocks.FAMILY.workspaces(ATTEND, schedule)
        ]
        for case in (case for case in CASES if case.kind == "attend"):
            queries = aligned((case.tokens, HEADS * SIZE), "float32")
            lists = aligned((case.tokens, KV_HEADS, SELECT.budget), "int32")
            own = case.position // BLOCK - 1
            for row in lists.reshape(-1, SELECT.budget):
                row[:] = np.sort(random.choice(own, SELECT.budget, replace=False))
            counts = integers(SELECT.budget, case.tokens * KV_HEADS).reshape(-1, KV_HEADS)
            out = aligned((case.tokens, HEADS * SIZE), "uint16")
            read = aligned((case.tokens, KV_HEADS), "int32")
            offsets = integers(0, 2)
            offsets[1] = case.tokens
            fields = [*self._steps(case), offsets, integers(0, 1), table]
            inputs = [queries, keys, values, lists, counts]
            outputs = (out, read)
            self.works[case.name] = self._call(ATTEND.symbol, *fields, *inputs, *outputs, *scratch)


def integers(value: int, count: int) -> np.ndarray:
    """An aligned array of one integer."""
    array = aligned((count,), "int32")
    array[:] = value
    return array


def measure(kernels: Kernels, seconds: float) -> dict[str, list[Sample]]:
    """Samples of everything, taken in turn.

    Before each, other memory is read: like the weights in a model, it leaves no key in a cache.
    """
    samples: dict[str, list[Sample]] = {name: [] for name in kernels.works}
    for work in kernels.works.values():
        work()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for name, work in kernels.works.items():
            kernels.works[Ceiling.READ]()
            samples[name].append(sample(work))
    return samples


def main() -> None:
    """Print the ceilings, then a line for each case."""
    parser = argparse.ArgumentParser(description="Kernels of a sparse layer.")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--target", type=CpuTarget.parse, default=CpuTarget.host())
    options = parser.parse_args()
    kernels = Kernels(options.target, options.threads)
    samples = measure(kernels, options.seconds)
    rates: dict[str, Any] = {
        name: scale / summarise(samples[name]).median for name, scale in kernels.scales.items()
    }
    print(
        f"{options.threads} threads; memory is read at {rates[Ceiling.READ] / 1e9:.1f} GB/s, "
        f"multiply-adds run at {rates[Ceiling.FLOAT32] / 1e9:.0f} GF"
    )
    for case in CASES:
        found = summarise(samples[case.name])
        rate = case.operations / found.median
        reading = case.bytes * case.tokens / rates[Ceiling.READ]
        print(
            f"{case.name:20s} {found.median * 1e3:8.3f} ms {rate / 1e9:6.1f} GF, "
            f"{rate / rates[Ceiling.FLOAT32]:.2f} of the ceiling; "
            f"{found.median / reading:.2f} x the time to read the keys ({found})"
        )


if __name__ == "__main__":
    main()
