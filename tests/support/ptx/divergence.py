"""Branches that part the threads of a block, and operations that need all of them before they meet.

Triton writes none: a condition on values of a block becomes a mask. LLVM may make one where it
threads a jump through a known condition, and then a barrier or a shuffle waits for threads that
went the other way.

    python -m tests.support.ptx.divergence --config examples/released-config.json --arch 90
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from sala_compile.codegen.gpu_code import cubin
from sala_compile.codegen.gpu_code.cubin import source_of
from sala_compile.codegen.kernels.registry import family
from sala_compile.codegen.kernels.triton.kernel import GpuKernel, Slabs
from sala_compile.codegen.lowering import lower
from sala_compile.codegen.opening import open_source
from sala_compile.codegen.options import CompileOptions
from sala_compile.codegen.program.sampling_steps import chosen_kernel, sampling_choice
from sala_compile.codegen.progress import Silent
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.passes.support.quantization import Quantization
from tests.support.ptx.program import (
    Address,
    Instruction,
    Label,
    Operand,
    Pair,
    Program,
    Register,
    Vector,
)

OF_A_THREAD = ("%tid", "%laneid")
"""Special registers that differ between threads; all others are a block's."""
CONVERGENT = (
    *("bar", "barrier", "shfl", "redux", "vote", "ldmatrix", "stmatrix", "mma"),
    *("wgmma", "tcgen05", "elect", "match"),
)
ALIKE = ("shfl", "redux", "vote", "elect", "mma", "wgmma", "tcgen05", "ldmatrix")
"""Results that a warp or a block agrees on, or that no branch is made of."""
WRITES_NOTHING = (
    *("st", "red", "bar", "barrier", "bra", "ret", "exit", "fence", "membar", "prefetch"),
    *("cp", "stmatrix", "mbarrier", "griddepcontrol", "discard", "trap", "nanosleep"),
)


@dataclass(frozen=True, slots=True)
class Divergence:
    """A branch, and the first operation behind it that needs all threads."""

    branch: str
    operation: str


def divergences(program: Program) -> list[Divergence]:
    """Every branch on a value of a thread with a convergent operation before its paths join."""
    tainted, flow = _values_of_threads(program.instructions), _Flow(program)
    found = []
    for index, each in enumerate(program.instructions):
        if each.head == "bra" and each.guard is not None and each.guard.name in tainted:
            for place in flow.apart(index):
                if program.instructions[place].head in CONVERGENT:
                    text = program.instructions[place].text
                    found.append(Divergence(each.text, text))
                    break
    return found


def _values_of_threads(instructions: Sequence[Instruction]) -> frozenset[str]:
    """Registers whose values may differ between the threads of a block."""
    tainted: set[str] = set()
    while True:
        before = len(tainted)
        for each in instructions:
            written, read = _registers(each)
            if not _is_alike(each) and any(_differs(name, tainted) for name in read):
                tainted.update(written)
        if len(tainted) == before:
            return frozenset(tainted)


def _is_alike(instruction: Instruction) -> bool:
    """A reduction's value comes to every thread through shared memory: no mask is loaded there."""
    return instruction.head in ALIKE or instruction.parts[:2] == ("ld", "shared")


def _differs(name: str, tainted: set[str]) -> bool:
    return name in tainted or name.startswith(OF_A_THREAD)


def _registers(instruction: Instruction) -> tuple[set[str], set[str]]:
    """Names that an instruction writes, and those that it reads, its guard's too."""
    guard = set() if instruction.guard is None else {instruction.guard.name}
    operands = instruction.operands
    if instruction.head in WRITES_NOTHING or not operands:
        return set(), guard.union(*map(_names, operands))
    return _names(operands[0]), guard.union(*map(_names, operands[1:]))


def _names(operand: Operand) -> set[str]:
    match operand:
        case Register(name):
            return {name}
        case Vector(items) | Address(items, _):
            return set().union(*map(_names, items))
        case Pair(value, predicate):
            return _names(value) | _names(predicate)
    return set()


class _Flow:
    """Which instructions follow which."""

    def __init__(self, program: Program) -> None:
        self._code = program.instructions
        self._labels = program.labels
        self._next = [list(self._following(index)) for index in range(len(self._code))]

    def apart(self, branch: int) -> list[int]:
        """The instructions between a branch and the first that all its paths come to, in order."""
        sides = self._next[branch]
        reached = [self._reachable([side]) for side in sides]
        joins = (place for place in frozenset.intersection(*reached) if self._meet(sides, place))
        regions = [self._reachable(sides, place) for place in joins]
        return sorted(min(regions, key=len, default=frozenset().union(*reached)))

    def _meet(self, sides: Sequence[int], place: int) -> bool:
        """Whether no path from the sides ends without coming to `place`."""
        return all(self._next[each] for each in self._reachable(sides, place))

    def _reachable(self, starts: Sequence[int], without: int | None = None) -> frozenset[int]:
        """What paths from `starts` come to before `without`."""
        seen = {start for start in starts if start != without}
        waiting = list(seen)
        while waiting:
            for each in self._next[waiting.pop()]:
                if each != without and each not in seen:
                    seen.add(each)
                    waiting.append(each)
        return frozenset(seen)

    def _following(self, index: int) -> Iterator[int]:
        each = self._code[index]
        ends = each.head in ("ret", "exit", "bra")
        if (not ends or each.guard is not None) and index + 1 < len(self._code):
            yield index + 1
        if each.head == "bra":
            (label,) = (operand for operand in each.operands if isinstance(operand, Label))
            yield self._labels[label.name]


def texts(
    config: Path, target: CudaTarget, quantization: Quantization
) -> Iterator[tuple[str, str]]:
    """The PTX of every launch of a model, by the names of its functions."""
    options = CompileOptions(
        checkpoint=None,
        output=None,
        config_file=config,
        dry_run=True,
        quantization=quantization,
    )
    for kernel in kernels_of(options, target):
        yield from texts_of(kernel, target)


def kernels_of(options: CompileOptions, target: CudaTarget) -> Iterator[GpuKernel]:
    """All kernels of a model."""
    for _, kernel in families_of(options, target):
        yield kernel


def families_of(options: CompileOptions, target: CudaTarget) -> Iterator[tuple[str, GpuKernel]]:
    """All kernels of a model, with the names of their families."""
    with ExitStack() as stack:
        source = open_source(options, stack)
        lowered = lower(source.captured, target.name, target, options, Silent())
    sampling = sampling_choice(target, source.facts.vocabulary)
    assert sampling is not None
    for each in (*lowered.kernels, chosen_kernel(sampling)):
        yield each.family, family(each.family, "gpu").build(dict(each.spec), target)


def texts_of(kernel: GpuKernel, target: CudaTarget) -> Iterator[tuple[str, str]]:
    """The PTX of every launch of a kernel."""
    for step in kernel.launches:
        slab = step.size if isinstance(step, Slabs) else 0
        for launch in step.launches if isinstance(step, Slabs) else (step,):
            yield launch.function.__name__, cubin._ptx(source_of(launch, kernel, slab), target)[0]


def main() -> int:
    """Print every divergence of a model's code; 1 where there is one."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--arch", type=int, default=90)
    parser.add_argument("--quantize", type=Quantization, default=Quantization.INT4_G128)
    given = parser.parse_args()
    count, found = 0, 0
    for name, text in texts(given.config, CudaTarget(given.arch), given.quantize):
        count += 1
        for each in divergences(Program(text)):
            found += 1
            print(f"{name}: {each.branch} before {each.operation}")
    print(f"sm_{given.arch}: {count} functions, {found} divergent branches before such operations")
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
