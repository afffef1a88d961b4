"""Linear kernels beside torch and beside what the machine can do, measured in one run.

    python -m benchmarks.kernels.linear --threads 2 --seconds 60

Each side runs in a process of its own, asked for samples in turn. One row of a matrix larger than
the caches is compared with the bandwidth of memory, many rows with the rate of multiply-adds: of
floats, of pairs of 16-bit integers where the weight is integers, of bytes where x is too, and of
bfloat16 for bf16 where the processor has instructions for it. torch's integers of 4 bits have the
same groups and an x of bf16; beside an x of bytes its 8-bit weights have one too.

    python -m benchmarks.kernels.linear --threads 1 --clock cpu

counts the time that a process computed instead of the time that passed, for machines that others
never leave alone: one thread only, and what others do to caches and memory still counts.
"""

import argparse
import os
from functools import partial

from benchmarks.kernels.linear_cases import Case, cases_with
from benchmarks.kernels.sides import Samples, Side, SideProcess, take_turns
from sala_compile.runtime.artifact.ceilings import Ceiling
from sala_compile.runtime.common.timing import summarise


def make_own(cases: dict[str, list[Case]], threads: int) -> Side:
    """This project's kernels, made in the process that calls them."""
    from benchmarks.kernels.linear_own import OwnSide

    return OwnSide(cases, threads)


def make_torch(threads: int, cases: tuple[Case, ...]) -> Side:
    """torch's operators, likewise."""
    from benchmarks.kernels.linear_torch import TorchSide

    return TorchSide(threads, cases)


def measure(
    threads: int, seconds: float, clock: str, cases: tuple[Case, ...]
) -> tuple[Samples, dict[str, int]]:
    """Samples of every case of both sides, taken in turn, and what the ceilings count."""
    own = partial(make_own, {case.name: [case] for case in cases}, threads)
    sides = {
        "own": SideProcess(own, clock),
        "torch": SideProcess(partial(make_torch, threads, cases), clock),
    }
    scales = sides["own"].scales
    asked = [("own", name) for name in scales]
    asked += [(side, case.name) for case in cases for side in sides]
    try:
        return take_turns(sides, asked, seconds, least=1), scales
    finally:
        for side in sides.values():
            side.close()


def main() -> None:
    """Print the ceilings, then a line for each case."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--cases", default="", help="only cases that have this in their names")
    options = parser.parse_args()
    if options.clock == "cpu" and options.threads != 1:
        parser.error("--clock cpu needs --threads 1")
    cases = cases_with(options.cases)
    samples, scales = measure(options.threads, options.seconds, options.clock, cases)
    ceilings = {
        name: scale / summarise(samples["own", name]).median / 1e9 for name, scale in scales.items()
    }
    print(
        f"{options.threads} threads; memory is read at {ceilings[Ceiling.READ]:.1f} GB/s, ", end=""
    )
    print(f"multiply-adds run at {ceilings[Ceiling.FLOAT32]:.0f} GF, ", end="")
    print(f"those of pairs of 16-bit integers at {ceilings[Ceiling.INT16]:.0f} G, ", end="")
    print(f"of four bytes at {ceilings[Ceiling.INT8]:.0f} G", end="")
    bfloat16 = ceilings.get(Ceiling.BFLOAT16)
    print(f", products of bfloat16 at {bfloat16:.0f} GF" if bfloat16 else "")
    for case in cases:
        own, torch = (summarise(samples[side, case.name]) for side in ("own", "torch"))
        rate, unit, ceiling = _rate(case, own.median, ceilings)
        print(
            f"{case.name:31s} {own.median * 1e3:9.2f} ms {rate:7.1f} {unit:4s} "
            f"{rate / ceiling:5.2f} of the ceiling; torch {torch.median * 1e3:9.2f} ms, "
            f"{torch.median / own.median:5.2f} x ours ({own}; torch {torch})"
        )


def _rate(case: Case, seconds: float, ceilings: dict[str, float]) -> tuple[float, str, float]:
    """How fast a case ran, and its ceiling."""
    if case.rows <= 16:
        return case.bytes / seconds / 1e9, "GB/s", ceilings[Ceiling.READ]
    rate = case.operations / seconds / 1e9
    if case.bits:
        return rate, "G", ceilings[Ceiling.INT8 if case.x_bits == 8 else Ceiling.INT16]
    floats = ceilings[Ceiling.FLOAT32]
    return rate, "GF", ceilings.get(Ceiling.BFLOAT16, floats) if case.kind == "bf16" else floats


if __name__ == "__main__":
    main()
