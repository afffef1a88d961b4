"""Linear kernels beside torch and beside what the machine can do, measured in one run.

    python -m benchmarks.kernels.linear --threads 2 --seconds 60

Each side runs in a process of its own, asked for samples in turn. One row of a matrix larger than
the caches is compared with the bandwidth of memory, many rows with the rate of multiply-adds or,
for bf16 where the processor has AMX, of products of tiles that stay in registers.
"""

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from benchmarks.clean import Sample, sample, summarise

READ_BYTES = 512 << 20
SETTLE_SECONDS = 0.002

Work = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Case:
    """x [rows, depth] times a weight [columns, depth], one of `copies` in turn."""

    rows: int
    depth: int
    columns: int
    dtype: str
    copies: int = 1

    @property
    def name(self) -> str:
        """How the table names it."""
        return f"{self.dtype} {self.rows} x {self.depth} x {self.columns}"

    @property
    def bytes(self) -> int:
        """Bytes of the weight."""
        return self.depth * self.columns * (2 if self.dtype == "bf16" else 4)

    @property
    def operations(self) -> int:
        """Floating-point operations."""
        return 2 * self.rows * self.depth * self.columns


CASES = (
    Case(1, 4096, 16384, "bf16", copies=3),
    Case(1, 16384, 4096, "bf16", copies=3),
    Case(8, 4096, 16384, "bf16", copies=3),
    Case(16, 4096, 16384, "bf16", copies=3),
    Case(64, 4096, 4096, "bf16", copies=4),
    Case(512, 4096, 4096, "bf16"),
    Case(512, 4096, 16384, "bf16"),
    Case(512, 16384, 1024, "bf16"),
    Case(1, 4096, 16384, "f32", copies=2),
    Case(512, 4096, 2048, "f32"),
)


def aligned(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """A buffer of small values that starts at a page."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.empty(size + 4096, np.uint8)
    start = -memory.ctypes.data % 4096
    buffer = memory[start : start + size].view(dtype).reshape(shape)
    buffer[...] = 0x3C00 if dtype == "uint16" else 0.0078125
    return buffer


def in_turn(works: list[Work]) -> Work:
    """A work that does the next of `works` each time."""
    turn = iter(range(1 << 60))
    return lambda: works[next(turn) % len(works)]()


class OwnSide:
    """The kernels of this project, and the ceilings."""

    def __init__(self, threads: int) -> None:
        """Compile everything for this machine."""
        from tvm_ffi import from_dlpack

        from benchmarks.kernels.ceilings import (
            FLOATS_PER_WORKER,
            multiply_add_kernel,
            read_kernel,
            tile_kernel,
        )
        from benchmarks.threads import use_threads
        from codegen.kernels.linear.cpu import build, default_schedule
        from codegen.targets.cpu import CpuTarget, compile_functions
        from runtime.artifact.processor import permit_tiles

        use_threads(threads)
        self._tensor, self._threads = from_dlpack, threads
        target = CpuTarget.host()
        multiply_add, operations = multiply_add_kernel(target)
        specs = {case.name: self._spec(case) for case in CASES}
        functions = {spec.symbol: build(spec, target) for spec in specs.values()}
        functions |= {"read": read_kernel(target, READ_BYTES // 64), "multiply_add": multiply_add}
        module = compile_functions(functions, target)
        result = aligned((threads * FLOATS_PER_WORKER,), "float32")
        memory = aligned((READ_BYTES // 4,), "float32")
        self.works: dict[str, Work] = {
            "read": self._call(module["read"], 1, memory, result),
            "multiply_add": self._call(module["multiply_add"], 1, result),
        }
        for case in CASES:
            spec = specs[case.name]
            sums = default_schedule(spec, target).workspace(spec)
            self.works[case.name] = self._linear(module[spec.symbol], case, spec, sums)
        self.scales = {"read": READ_BYTES, "multiply_add": operations * threads}
        if target.has_amx_bf16:
            permit_tiles()
            tiles, operations = tile_kernel(target)
            module = compile_functions({"tiles": tiles}, target)
            self.works["tiles"] = self._call(module["tiles"], 1, result)
            self.scales["tiles"] = operations * threads

    @staticmethod
    def _spec(case: Case) -> Any:
        from codegen.kernels.linear.cpu import Spec
        from codegen.kernels.tir.element import Element

        return Spec(
            depth=case.depth,
            rows=case.columns,
            weight=Element(case.dtype),
            output=Element.F32,
            scale=1.0,
            bias=False,
            swiglu=False,
            extent="tokens",
            x_start=0,
            x_pitch=case.depth,
        )

    def _call(self, function: Any, rows: int, *arrays: np.ndarray) -> Work:
        control = aligned((16,), "int32")
        control[:4] = rows, 1, rows, self._threads
        tensors = [self._tensor(array) for array in (control, *arrays)]
        return lambda: function(*tensors)

    def _linear(self, function: Any, case: Case, spec: Any, sums: int) -> Work:
        from codegen.kernels.linear.layout import panel_shape

        kind = spec.weight
        x = aligned((case.rows, case.depth), kind.dtype)
        y = aligned((case.rows, case.columns), "float32")
        shape = panel_shape(case.columns, case.depth, kind.pack)
        scratch = aligned((self._threads, sums), "float32")
        return in_turn(
            [
                self._call(function, case.rows, x, aligned(shape, kind.dtype), y, scratch)
                for _ in range(case.copies)
            ]
        )


class TorchSide:
    """torch's linear on the same shapes."""

    def __init__(self, threads: int) -> None:
        """Make the operands."""
        import torch

        torch.set_num_threads(threads)
        types = {"bf16": torch.bfloat16, "f32": torch.float32}

        def works(case: Case) -> Work:
            x = torch.full((case.rows, case.depth), 0.0078125, dtype=types[case.dtype])
            weights = [
                torch.full((case.columns, case.depth), 0.0078125, dtype=types[case.dtype])
                for _ in range(case.copies)
            ]
            linear = torch.nn.functional.linear
            return in_turn([lambda w=w: linear(x, w) for w in weights])

        with torch.inference_mode():
            self.works = {case.name: works(case) for case in CASES}
        self.scales: dict[str, int] = {}


def serve(side: str, threads: int, pipe: Connection) -> None:
    """Answer each name with a sample of its work, until None comes."""
    engine = OwnSide(threads) if side == "own" else TorchSide(threads)
    for work in engine.works.values():
        work()
    pipe.send(engine.scales)
    while (name := pipe.recv()) is not None:
        time.sleep(SETTLE_SECONDS)
        pipe.send(sample(engine.works[name]))


def measure(threads: int, seconds: float) -> tuple[dict[tuple[str, str], list[Sample]], Any]:
    """Samples of every case of both sides, taken in turn, and what the ceilings count."""
    spawn = get_context("spawn")
    pipes: dict[str, Connection] = {}
    scales: dict[str, int] = {}
    for side in ("own", "torch"):
        pipes[side], theirs = spawn.Pipe()
        spawn.Process(target=serve, args=(side, threads, theirs), daemon=True).start()
        scales |= pipes[side].recv()
    asked = [("own", name) for name in scales]
    asked += [(side, case.name) for case in CASES for side in pipes]
    samples: dict[tuple[str, str], list[Sample]] = {each: [] for each in asked}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for side, name in asked:
            pipes[side].send(name)
            samples[side, name].append(pipes[side].recv())
    for pipe in pipes.values():
        pipe.send(None)
    return samples, scales


def main() -> None:
    """Print the ceilings, then a line for each case."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    samples, scales = measure(options.threads, options.seconds)
    ceilings = {
        name: scale / summarise(samples["own", name]).median / 1e9 for name, scale in scales.items()
    }
    print(f"{options.threads} threads; memory is read at {ceilings['read']:.1f} GB/s, ", end="")
    print(f"multiply-adds run at {ceilings['multiply_add']:.0f} GF", end="")
    print(f", products of tiles at {ceilings['tiles']:.0f} GF" if "tiles" in ceilings else "")
    for case in CASES:
        own, torch = (summarise(samples[side, case.name]) for side in ("own", "torch"))
        if case.rows <= 16:
            rate, unit, ceiling = case.bytes / own.median / 1e9, "GB/s", ceilings["read"]
        else:
            rate, unit = case.operations / own.median / 1e9, "GF"
            best = "tiles" if case.dtype == "bf16" and "tiles" in ceilings else "multiply_add"
            ceiling = ceilings[best]
        print(
            f"{case.name:24s} {own.median * 1e3:9.2f} ms {rate:7.1f} {unit:4s} "
            f"{rate / ceiling:5.2f} of the ceiling; torch {torch.median * 1e3:9.2f} ms, "
            f"{torch.median / own.median:5.2f} x ours ({own}; torch {torch})"
        )


if __name__ == "__main__":
    main()
