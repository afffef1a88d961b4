"""Dense attention of published shapes beside what the machine can do, in one run.

    python -m benchmarks.kernels.dense --threads 2 --seconds 60 --output FILE.json

Decode is compared with the time to read keys and values, and with that of reading the same pages
in the same order while as many instructions run for each line as both products need (`pages`).
Prefill is compared with the best arithmetic of the element type. Keys and values are random, pages
shuffled; turns interleave. On a machine with other work, `chrt -f 1` in front keeps that off the
CPUs in the samples.
"""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tvm_ffi import from_dlpack

from benchmarks.kernels.ceilings import CeilingWorks
from benchmarks.kernels.linear_cases import aligned
from benchmarks.kernels.page_reader import page_reader
from benchmarks.kernels.sparse import integers, random_pool
from benchmarks.machine import machine_document
from benchmarks.markdown import page, table, write_report
from benchmarks.threads import use_threads
from sala_compile.codegen.kernels.attend_blocks.cpu import kernel as attend_blocks
from sala_compile.codegen.kernels.tir.builder import LANES
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.codegen.write.cpu_library import compile_functions
from sala_compile.runtime.artifact.ceilings import Ceiling
from sala_compile.runtime.common.timing import Sample, sample, summarise
from sala_compile.runtime.common.units import format_tokens

Work = Callable[[], object]
BLOCK = 64
BF16, F32 = Element.BF16, Element.F32


@dataclass(frozen=True, slots=True)
class Shape:
    """Heads of a layer, named after a model that has them."""

    model: str
    heads: int
    kv_heads: int
    size: int
    element: Element = BF16

    @property
    def name(self) -> str:
        """How the table names it."""
        kind = "" if self.element is BF16 else ", float32"
        return f"{self.model} ({self.heads}/{self.kv_heads} heads of {self.size}{kind})"

    @property
    def spec(self) -> attend_blocks.Spec:
        """The kernel of the layer."""
        return attend_blocks.Spec(
            num_heads=self.heads,
            kv_heads=self.kv_heads,
            head_dim=self.size,
            block_size=BLOCK,
            scale=self.size**-0.5,
            element=self.element,
            out_element=self.element,
            budget=0,
            q_start=0,
            q_pitch=self.heads * self.size,
            gate=False,
        )

    @property
    def pool_shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Packed keys and values of a page."""
        pack = self.element.pack
        return (
            (self.kv_heads, self.size // pack, BLOCK, pack),
            (self.kv_heads, BLOCK // pack, self.size, pack),
        )

    def line_instructions(self, target: CpuTarget) -> int:
        """Vector instructions that the products of a token need for each line of its pages."""
        group = self.heads // self.kv_heads
        pairs = self.element is BF16 and not target.has_fast_bf16_dot
        return 2 * group + 2 if pairs else group


SHAPES = (
    Shape("SmolLM2-135M", 9, 3, 64),
    Shape("Qwen2.5-1.5B", 12, 2, 128),
    Shape("Llama-3-8B, a quarter", 8, 2, 128),
    Shape("Phi-3-mini, an eighth", 4, 4, 96),
    Shape("MiniCPM-2B, an eighth", 4, 4, 80),
    Shape("Qwen3-4B, a quarter", 8, 2, 128, F32),
)


@dataclass(frozen=True, slots=True)
class Case:
    """`tokens` tokens after `history` others."""

    shape: Shape
    tokens: int
    history: int
    shuffled: bool = True

    @property
    def name(self) -> str:
        """How the table names the work."""
        kind = "decode" if self.tokens == 1 else f"prefill of {self.tokens}"
        where = "" if self.shuffled else ", pages in order"
        return f"{self.shape.name}, {kind} after {format_tokens(self.history)}{where}"

    @property
    def pages(self) -> str:
        """How the reading of its pages is named."""
        return f"{self.name}: pages"

    @property
    def in_order(self) -> str:
        """How the reading of as many bytes in the order of memory is named."""
        return f"{self.name}: bytes"

    @property
    def operations(self) -> int:
        """Floating-point operations of both products, of the keys that each query reads."""
        keys = self.tokens * self.history + self.tokens * (self.tokens + 1) // 2
        return 4 * self.shape.heads * self.shape.size * keys

    @property
    def bytes(self) -> int:
        """Bytes of the keys and values, each once."""
        length = self.history + self.tokens
        return 2 * length * self.shape.kv_heads * self.shape.size * self.shape.element.bytes


def cases(shapes: tuple[Shape, ...], chunk: int) -> list[Case]:
    """Decode at three lengths, a chunk of the middle of 8K tokens after 32K, and of a prompt."""
    found = list[Case]()
    for shape in shapes:
        found += [Case(shape, 1, history) for history in (128, 4 << 10, 32 << 10)]
        found.append(Case(shape, 1, 32 << 10, shuffled=False))
        found += [Case(shape, chunk, history) for history in (0, 36 << 10)]
    return found


class Kernels:
    """The kernels over pools of their own, and the ceilings."""

    def __init__(self, target: CpuTarget, threads: int, given: list[Case]) -> None:
        """Compile everything for this machine and fill the pools."""
        use_threads(threads)
        self._threads, self._target = threads, target
        specs = {case.shape.spec.symbol: case.shape.spec for case in given}
        built = {name: attend_blocks.FAMILY.build(spec, target) for name, spec in specs.items()}
        for case in given:
            if case.tokens == 1:
                shape, symbol = case.shape, f"read_{case.shape.spec.symbol}"
                floats = BLOCK * shape.kv_heads * shape.size // shape.element.pack
                adds = shape.line_instructions(target)
                built[symbol] = page_reader(symbol, target, floats, adds)
        self._module = compile_functions(built, target)
        self._ceilings = ceilings = CeilingWorks(target, threads)
        kinds = [kind for kind in (Ceiling.READ, Ceiling.FLOAT32, Ceiling.BFLOAT16)]
        self.scales = {kind: ceilings.scales[kind] for kind in kinds if kind in ceilings.scales}
        self.works: dict[str, Work] = {name: ceilings.works[name] for name in self.scales}
        for case in given:
            self._add(case)

    def _add(self, case: Case) -> None:
        shape, spec = case.shape, case.shape.spec
        schedule = attend_blocks.FAMILY.default_schedule(spec, self._target)
        pages = -(-(case.history + case.tokens) // BLOCK)
        pools = [_pool(shape, pages, *extents) for extents in shape.pool_shapes]
        table = aligned((1, pages), "int32")
        table[0] = np.random.default_rng(2).permutation(pages) if case.shuffled else range(pages)
        control = aligned((16,), "int32")
        control[:4] = case.tokens, 1, 0, self._threads
        positions, offsets = aligned((case.tokens,), "int32"), integers(0, 2)
        positions[:] = case.history + np.arange(case.tokens)
        offsets[1] = case.tokens
        q = aligned((case.tokens, shape.heads * shape.size), "float32")
        q[...] = np.random.default_rng(3).standard_normal(q.shape)
        outputs = (
            aligned((case.tokens, shape.heads * shape.size), shape.element.dtype),
            aligned((case.tokens, shape.kv_heads), "int32"),
        )
        scratch = [
            aligned((self._threads, each.elements), each.dtype)
            for each in attend_blocks.FAMILY.workspaces(spec, schedule)
        ]
        fields = [control, integers(0, case.tokens), positions, offsets, integers(0, 1), table]
        arrays = [from_dlpack(array) for array in (*fields, q, *pools, *outputs, *scratch)]
        function = self._module[spec.symbol]
        self.works[case.name] = lambda: function(*arrays)
        if case.tokens == 1:
            lines = [pool.reshape(pages, -1).view("float32") for pool in pools]
            result = aligned((self._threads * LANES,), "float32")
            reading = [from_dlpack(array) for array in (control, table[0], *lines, result)]
            reader = self._module[f"read_{spec.symbol}"]
            self.works[case.pages] = lambda: reader(*reading)
            self.works[case.in_order] = self._ceilings.reading(case.bytes)


def _pool(shape: Shape, pages: int, *extents: int) -> np.ndarray:
    if shape.element is BF16:
        return random_pool(pages, *extents)
    pool = aligned((pages, *extents), "float32")
    pool[...] = np.random.default_rng(0).standard_normal(pool.shape, np.float32)
    return pool


def measure(kernels: Kernels, seconds: float) -> dict[str, list[Sample]]:
    """Samples of everything, taken in turn, memory read before each: no key is in a cache."""
    samples: dict[str, list[Sample]] = {name: [] for name in kernels.works}
    for work in kernels.works.values():
        work()
    end = time.monotonic() + seconds
    while time.monotonic() < end or len(samples[Ceiling.READ]) < 3:
        for name, work in kernels.works.items():
            kernels.works[Ceiling.READ]()
            samples[name].append(sample(work))
    return samples


def rows_of(
    kernels: Kernels, given: list[Case], samples: dict[str, list[Sample]]
) -> list[dict[str, Any]]:
    """What was found of each case: seconds, and the fractions of both ceilings."""
    rates = {
        name: scale / summarise(samples[name]).median for name, scale in kernels.scales.items()
    }
    rows = list[dict[str, Any]]()
    for case in given:
        found = summarise(samples[case.name])
        best = (
            Ceiling.FLOAT32
            if case.shape.element is F32
            else max((Ceiling.FLOAT32, Ceiling.BFLOAT16), key=lambda kind: rates.get(kind, 0.0))
        )
        row = {"work": case.name, "seconds": found.median}
        row["of_read"] = case.bytes / found.median / rates[Ceiling.READ]
        row["of_peak"] = case.operations / found.median / rates[best]
        if case.tokens == 1:
            row["of_pages"] = summarise(samples[case.pages]).median / found.median
            row["of_bytes"] = summarise(samples[case.in_order]).median / found.median
        rows.append(row | {"decode": case.tokens == 1, "clean": found.clean, "total": found.total})
    return [{"ceilings": {name.value: rate for name, rate in rates.items()}}, *rows]


def markdown(document: dict[str, Any]) -> str:
    """The page of a run."""
    ceilings = document["ceilings"]
    lines = [
        (
            row["work"],
            f"{row['seconds'] * 1e3:.3f}",
            f"{row['of_read']:.2f}",
            f"{row['of_bytes']:.2f}" if "of_bytes" in row else "",
            f"{row['of_pages']:.2f}" if "of_pages" in row else "",
            f"{row['of_peak']:.2f}",
            f"{row['clean']}/{row['total']}",
        )
        for row in document["rows"]
    ]
    measured = ", ".join(
        f"{name.removeprefix('ceiling_')} {rate / 1e9:.0f} G" for name, rate in ceilings.items()
    )
    return page(
        "Dense attention of one layer",
        document,
        "Keys and values random, pages of 64 tokens shuffled, other memory read before each "
        f"sample. Ceilings of the same run, bytes and operations a second: {measured}. `of its "
        "pages`: of the time to read them with the instructions of both products. Made by "
        "`python -m benchmarks.kernels.dense`.",
        table(
            ("work", "ms", "of the read", "of its bytes", "of its pages", "of the peak", "clean"),
            lines,
            1,
        ),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the page, and write it if a file is named."""
    parser = argparse.ArgumentParser(description="Dense attention of one layer.")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--chunk", type=int, default=512, help="tokens of a prefill step")
    parser.add_argument("--only", default="", help="shapes whose names have this text")
    parser.add_argument("--target", type=CpuTarget.parse, default=CpuTarget.host())
    parser.add_argument("--output", type=Path, help="where to write the JSON, and a page beside it")
    options = parser.parse_args(arguments)
    shapes = tuple(shape for shape in SHAPES if options.only in shape.name)
    if not shapes:
        names = "; ".join(shape.name for shape in SHAPES)
        parser.error(f"--only: no shape has {options.only!r} in its name. They are: {names}")
    given = cases(shapes, options.chunk)
    kernels = Kernels(options.target, options.threads, given)
    ceilings, *rows = rows_of(kernels, given, measure(kernels, options.seconds))
    document = machine_document(("apache-tvm", "numpy"), options.threads)
    document |= {"shapes": [asdict(shape) for shape in shapes], **ceilings, "rows": rows}
    print(markdown(document))
    if options.output:
        write_report(options.output, document, markdown)


if __name__ == "__main__":
    main()
