"""What bounds a launch on a GPU, by counts of its machine code.

`cards.py` has all rates, `work.py` the turns of loops.
"""

import hashlib
import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

import triton

from benchmarks.gpu.cards import EXPONENTIALS, PORT, RESERVED, Card
from benchmarks.gpu.released import Call
from benchmarks.gpu.sass import Counts, disassemble, parse
from benchmarks.gpu.work import Case, Work, work_of
from sala_compile.codegen.gpu_code.assembler import assembler_version
from sala_compile.codegen.gpu_code.cubin import Cubin, KernelSource, compile_source, source_of
from sala_compile.codegen.kernels.triton.kernel import GpuKernel, Launch, Slabs
from sala_compile.codegen.targets.cuda import CudaTarget


@dataclass(frozen=True, slots=True)
class Predicted:
    """A launch: how often it stands in a step, its code, and the seconds of each bound."""

    name: str
    kernel: str
    times: int
    cubin: Cubin
    counts: Counts
    programs: int
    resident: int
    bounds: dict[str, float]
    seconds: float
    dram: float
    l2: float

    @property
    def bound(self) -> str:
        """The longest of the bounds."""
        return max(self.bounds, key=lambda name: self.bounds[name])


def resident_blocks(cubin: Cubin, card: Card) -> int:
    """Blocks of a launch that one multiprocessor holds at a time."""
    registers = -(-cubin.registers // 8) * 8 * cubin.threads
    return min(
        card.registers // registers,
        card.shared_bytes // (cubin.shared_bytes + RESERVED),
        card.threads // cubin.threads,
        32,
    )


def predict(
    counts: Counts, cubin: Cubin, programs: int, work: Work, card: Card, *, overlaps: bool = False
) -> tuple[dict[str, float], int, float]:
    """Seconds of every bound, resident blocks, and seconds of a launch.

    The busiest multiprocessor bounds what is counted in the code. Products hide the rest, or the
    rest them, as far as others are there to run: blocks where products are of whole warp groups,
    warps where each has its own. With `overlaps` the code itself goes on beside its products.
    """
    warps, resident = cubin.threads // 32, resident_blocks(cubin, card)
    blocks = ceil(programs / card.processors)
    clocks = blocks * warps / 4 / card.hertz
    across = blocks * warps * card.processors / card.tensor
    moved = counts.moved * warps * programs
    cached = moved if work.l2 is None else max(work.l2, work.dram or 0.0)
    bounds = {
        "issue": clocks * counts.issue,
        "integer": clocks * counts.integer * card.integer_clocks,
        "special": clocks * counts.special * 4 * 32 / EXPONENTIALS,
        "shared": clocks * counts.shared * 4,
        "tensor": across * (counts.wide + counts.narrow / card.legacy),
        "dram": (moved if work.dram is None else work.dram) / card.dram,
        "l2": cached / card.l2,
        "port": cached / programs * blocks / (PORT * card.hertz),
    }
    inside = [bounds["tensor"], max(bounds[n] for n in ("issue", "integer", "special", "shared"))]
    others = min(resident, blocks) * (1 if counts.wide else warps / 4)
    hidden = max(inside) + (0.0 if overlaps else min(inside) / max(1.0, others))
    memory = max(bounds[name] for name in ("dram", "l2", "port"))
    seconds = max(hidden, memory) + card.gap + card.ramp
    return bounds, resident, seconds


def predicted(calls: Iterable[Call], case: Case, card: Card, folder: Path) -> list[Predicted]:
    """Every launch of some calls of kernels on a GPU."""
    sizes = {"tokens": case.tokens, "sequences": 1, "logit_rows": 1}
    found = []
    for call in calls:
        for launch, slab, turns in _launches(call.kernel, case.tokens):
            local = {**sizes, "tokens": min(case.tokens, slab or case.tokens)}
            inner = Case(local["tokens"], case.context, case.block, case.budget)
            one = _predicted(call, launch, slab, local, inner, card, folder)
            found.append(replace(one, times=one.times * turns))
    return found


def _predicted(
    call: Call,
    launch: Launch,
    slab: int,
    sizes: dict[str, int],
    case: Case,
    card: Card,
    cache: Path,
) -> Predicted:
    target = CudaTarget(card.architecture)
    x, y, z = (axis.size(sizes) for axis in launch.grid)
    name = launch.function.__name__
    programs = x * y * z
    work = work_of(name, launch.named_constants, case, programs, call.matrix_bytes)
    chosen = replace(launch, constants=_with(launch.constants, work.only))
    cubin, text = compiled(source_of(chosen, call.kernel, slab), target, cache)
    code = parse(text)
    if work.idle:
        counts = code.first_exit()
    elif work.trips is None:
        counts = code.count([], products=True)
    else:
        try:
            counts = code.count(work.trips, products=work.products, others=work.others)
        except ValueError as error:
            raise ValueError(
                f"{name} of {call.kernel.symbol} for {target.name}: {error}"
            ) from error
    bounds, resident, seconds = predict(counts, cubin, programs, work, card, overlaps=code.overlaps)
    moved = counts.moved * cubin.threads / 32 * programs
    return Predicted(
        name,
        call.kernel.symbol,
        call.times,
        cubin,
        counts,
        programs,
        resident,
        bounds,
        seconds,
        moved if work.dram is None else work.dram,
        moved if work.l2 is None else work.l2,
    )


def _with(constants: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """The constants with others for some names, which may be fields of a NamedTuple."""
    return {
        name: value._replace(**{n: v for n, v in others.items() if n in value._fields})
        if hasattr(value, "_replace")
        else others.get(name, value)
        for name, value in constants.items()
    }


def _launches(kernel: GpuKernel, tokens: int) -> Iterable[tuple[Launch, int, int]]:
    """Every launch with the size of its slab, and how often it comes."""
    for step in kernel.launches:
        if isinstance(step, Slabs):
            yield from ((each, step.size, ceil(tokens / step.size)) for each in step.launches)
        else:
            yield step, 0, 1


def compiled(source: KernelSource, target: CudaTarget, folder: Path) -> tuple[Cubin, str]:
    """The code of a source and its instructions, kept in a folder by what they depend on."""
    versions = (triton.__version__, assembler_version(target))
    key = (source.function.cache_key, *map(str, source.key[1:]), target.name, *versions)
    path = folder / (hashlib.sha256(repr(key).encode()).hexdigest() + ".pickle")
    if path.exists():
        return pickle.loads(path.read_bytes())
    cubin = compile_source(source, target, source.function.__name__)
    pair = cubin, disassemble(cubin.code)
    folder.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(pair))
    return pair
