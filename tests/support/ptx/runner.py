"""Kernels run as compiled: Triton's PTX for an architecture, executed, with every fault reported.

`run` has the interface of `tests.support.interpreted.run`, so that one test serves both.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sala_compile.codegen.gpu_code import cubin
from sala_compile.codegen.gpu_code.cubin import KernelSource, source_of
from sala_compile.codegen.kernels.triton.kernel import (
    Argument,
    Extent,
    GpuKernel,
    Launch,
    Pointer,
    Slabs,
)
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.codegen.write import gpu_library
from tests.support.interpreted import poison
from tests.support.ptx import arithmetic, movement, warps
from tests.support.ptx.block import Block, Lockstep
from tests.support.ptx.memory import Actor, Clock, GlobalMemory, Report, SharedMemory
from tests.support.ptx.program import Program

HANDLERS = {**arithmetic.HANDLERS, **movement.HANDLERS, **warps.HANDLERS}


@dataclass(frozen=True, slots=True)
class Code:
    """A compiled launch."""

    program: Program
    threads: int
    shared_bytes: int


@dataclass(slots=True)
class Figures:
    """What was executed so far."""

    launches: int = 0
    instructions: int = 0
    texts: set[str] = field(default_factory=set)


class Executor:
    """Runs kernels as compiled for one architecture."""

    def __init__(self, architecture: int, edit: Callable[[str], str] | None = None) -> None:
        """`edit` changes the text of every program, to seed faults in it."""
        self.target = CudaTarget(architecture)
        self.figures = Figures()
        self._edit = edit
        self._codes: dict[Any, Code] = {}

    def run(
        self,
        kernel: GpuKernel,
        buffers: Mapping[str, np.ndarray],
        sizes: Mapping[str, int],
        *,
        poisoned: Iterable[str] = (),
        backwards: bool = False,
    ) -> None:
        """Run every launch of a kernel on buffers by parameter name, written in place.

        AssertionError for a race, a divergence or a missing wait; AccessError for an address in no
        buffer. `backwards` runs the blocks of a grid in the opposite order.
        """
        for name in poisoned:
            poison(buffers[name])
        report = Report()
        memory = GlobalMemory(buffers, report)
        for launch, inner, slab, start in _launches(kernel, sizes):
            source = source_of(launch, kernel, slab)
            grid = tuple(axis.size(inner) for axis in launch.grid)
            given = [
                launch.arguments[name] for name in source.signature if name in launch.arguments
            ]
            values = [_value(each, buffers, memory, start) for each in given] + [0, 0]
            self._launch(self._code(source), grid, values, memory, report, backwards)
        memory.copy_out()
        assert not report.faults, f"{kernel.symbol}: {dict(report.faults)}"

    def _code(self, source: KernelSource) -> Code:
        if source.key not in self._codes:
            with gpu_library._without_line_numbers():
                text, facts = cubin._ptx(source, self.target)
            edited = self._edit(text) if self._edit else text
            threads = 32 * facts["num_warps"]
            self._codes[source.key] = Code(Program(edited), threads, facts["shared"])
            self.figures.texts.add(edited)
        return self._codes[source.key]

    def _launch(
        self,
        code: Code,
        grid: tuple[int, ...],
        values: list[int],
        memory: GlobalMemory,
        report: Report,
        backwards: bool,
    ) -> None:
        memory.begin()
        clock = Clock()
        parameters = dict(zip(code.program.parameters, values, strict=True))
        places = list(np.ndindex(grid[2], grid[1], grid[0]))
        for number, place in enumerate(reversed(places) if backwards else places):
            shared = SharedMemory(code.shared_bytes, report)
            special = _special(code.threads, grid, place[::-1])
            actor = Actor(number, clock)
            block = Block(code.threads, parameters, special, memory, shared, actor, report)
            with np.errstate(all="ignore"):
                Lockstep(block, code.program, HANDLERS).run()
                movement.land_copies(block, 0)
        self.figures.launches += 1
        self.figures.instructions += clock.time


def _launches(
    kernel: GpuKernel, sizes: Mapping[str, int]
) -> Iterator[tuple[Launch, Mapping[str, int], int, int]]:
    """Every launch with its sizes, the size of its slabs, and where its slab begins."""
    for step in kernel.launches:
        if not isinstance(step, Slabs):
            yield step, sizes, 0, 0
            continue
        total = sizes[step.symbol]
        for start in range(0, total, step.size):
            inner = {**sizes, step.symbol: min(step.size, total - start)}
            for launch in step.launches:
                yield launch, inner, step.size, start


def _value(
    argument: Argument, buffers: Mapping[str, np.ndarray], memory: GlobalMemory, start: int
) -> int:
    match argument:
        case Pointer():
            return memory.address(argument.parameter) + argument.byte_offset
        case Extent():
            return buffers[argument.parameter].shape[argument.dim]
    return start


def _special(threads: int, grid: tuple[int, ...], place: tuple[int, ...]) -> dict[str, Any]:
    """Special registers: one number for the block, or one for each thread."""
    thread = np.arange(threads)
    found: dict[str, Any] = {"%tid.x": thread, "%ntid.x": threads, "%laneid": thread % 32}
    for axis, name in enumerate("xyz"):
        found[f"%ctaid.{name}"], found[f"%nctaid.{name}"] = place[axis], grid[axis]
    return found | {"%tid.y": 0, "%tid.z": 0, "%ntid.y": 1, "%ntid.z": 1}
