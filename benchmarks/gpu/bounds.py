"""What a step of the released model takes at the least by counts of its code: no GPU takes part.

    python -m benchmarks.gpu.bounds --quantize int4-g128

Compiles every launch for an H200, an RTX 4090 and an RTX 5090, counts instructions, products and
bytes in the machine code, and prints which of them bounds each kernel, for a decoded token and for
the mean chunk of a prefill. `cards.py` has all rates, `work.py` the turns of loops.
"""

import argparse
import hashlib
import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

import triton

from benchmarks.gpu.cards import CARDS, EXPONENTIALS, PORT, RESERVED, Card
from benchmarks.gpu.floors import floor_seconds
from benchmarks.gpu.released import GGUF_BLOCKS, Call, calls_of, lowered
from benchmarks.gpu.sass import Counts, disassemble, parse
from benchmarks.gpu.sizes import Sizes
from benchmarks.gpu.work import Case, Work, work_of
from sala_compile.codegen.gpu_code.assembler import assembler_version
from sala_compile.codegen.gpu_code.cubin import Cubin, KernelSource, compile_source, source_of
from sala_compile.codegen.kernels.triton.kernel import GpuKernel, Launch, Slabs
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.passes.assign_precision import Precision
from sala_compile.passes.support.quantization import Quantization
from sala_compile.runtime.common.units import parse_tokens

CHUNK = 8192
PARTS = 5
"""Contexts at which a prefill is looked at; the table is that of the middle."""
LARGE_SHARE = 0.02
"""Kernels that take less of a step share a line, unless another share is given."""


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


def table(rows: list[Predicted], card: Card, least: float = LARGE_SHARE) -> list[str]:
    """A line for each kernel that takes at least a share of the step, longest first."""
    total = sum(row.times * row.seconds for row in rows)
    bounds = ", ".join(rows[0].bounds)
    lines = [
        f"| kernel | launches | programs x warps | registers, KiB, blocks | instructions | "
        f"us by {bounds} | us | share | notes |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    large, rest = _by_size(_merged(rows), least * total)
    for row in large:
        us = ", ".join(f"{1e6 * seconds:.1f}" for seconds in row.bounds.values())
        spilled = [f"spills {row.cubin.spill_bytes}"] * bool(row.cubin.spill_bytes)
        notes = [*spilled, *(warning.split(":")[0] for warning in row.cubin.warnings)]
        lines.append(
            f"| {row.name} {row.kernel.rsplit('_', 1)[0]} | {row.times} | "
            f"{row.programs} x {row.cubin.threads // 32} | {row.cubin.registers}, "
            f"{row.cubin.shared_bytes >> 10}, {row.resident} | {row.counts.issue:.0f} | {us} | "
            f"{1e6 * row.seconds:.1f} | {100 * row.times * row.seconds / total:.1f} % | "
            f"{' '.join(notes)} |"
        )
    if not rest:
        return lines
    seconds, times = (sum(values) for values in zip(*rest, strict=True))
    lines.append(
        f"| {len(rest)} others | {times} | | | | | {1e6 * seconds:.0f} all | "
        f"{100 * seconds / total:.1f} % | |"
    )
    return lines


def _merged(rows: list[Predicted]) -> list[Predicted]:
    """Equal launches of a kernel, such as those of slabs, as one."""
    found: dict[tuple[object, ...], Predicted] = {}
    for row in rows:
        key = (row.name, row.kernel, row.programs, row.seconds)
        times = row.times + (found[key].times if key in found else 0)
        found[key] = replace(row, times=times)
    return list(found.values())


def _by_size(
    rows: list[Predicted], least: float
) -> tuple[list[Predicted], list[tuple[float, int]]]:
    """The launches of `least` seconds or more, longest first; seconds and launches of the rest."""
    ordered = sorted(rows, key=lambda row: -row.times * row.seconds)
    large = [row for row in ordered if row.times * row.seconds >= least]
    rest = [(row.times * row.seconds, row.times) for row in ordered[len(large) :]]
    return large, rest


def _contexts(context: int) -> list[int]:
    """Contexts of chunks that stand for all chunks of a prefill."""
    return [context * (2 * part + 1) // (2 * PARTS) for part in range(PARTS)]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--card", choices=[*CARDS, "all"], default="all")
    parser.add_argument("--phase", choices=["decode", "prefill", "all"], default="all")
    parser.add_argument(
        "--context", type=parse_tokens, nargs="+", default=[1 << 16, 1 << 18, 1 << 20]
    )
    parser.add_argument("--quantize", type=Quantization, default=Quantization.INT4_G128)
    parser.add_argument("--dtype", type=Precision, default=Precision.BFLOAT16)
    parser.add_argument("--cache", type=Path, default=Path("build/bounds"))
    parser.add_argument("--brief", action="store_true", help="only the totals")
    parser.add_argument("--least", type=float, default=LARGE_SHARE, help="share of a step")
    parser.add_argument(
        "--gguf", action="store_true", help="int4 and int8 linears as blocks of Q4_K and Q6_K"
    )
    given = parser.parse_args()
    sizes = Sizes.released()
    cards = CARDS.values() if given.card == "all" else [CARDS[given.card]]
    for card in cards:
        model = lowered(CudaTarget(card.architecture), given.quantize, given.dtype)
        for phase in ("decode", "prefill") if given.phase == "all" else (given.phase,):
            for context in given.context:
                decodes = phase == "decode"
                tokens = 1 if decodes else min(CHUNK, context)
                calls = calls_of(model, phase, GGUF_BLOCKS if given.gguf else None)
                cases = [
                    Case(tokens, mean, sizes.block, sizes.budget)
                    for mean in ([context] if decodes else _contexts(context))
                ]
                each = [predicted(calls, case, card, given.cache) for case in cases]
                rows = each[len(each) // 2]
                steps = (1 if decodes else context / tokens) / len(cases)
                floor = steps * sum(floor_seconds(calls, phase, sizes, c, card) for c in cases)
                seconds = steps * sum(row.times * row.seconds for found in each for row in found)
                launches = sum(row.times for row in rows)
                kind = "Q4_K and Q6_K" if given.gguf else given.quantize.value
                print(f"\n## {card.name}, {phase}, {context >> 10}K, {kind}\n")
                if not given.brief:
                    print("\n".join(table(rows, card, given.least)) + "\n")
                print(
                    f"floor {1e3 * floor:.3f} ms, model {1e3 * seconds:.3f} ms, "
                    f"ratio {seconds / floor:.2f}, launches {launches}"
                )


if __name__ == "__main__":
    main()
