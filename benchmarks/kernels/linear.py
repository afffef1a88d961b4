"""Linear kernels beside torch and beside what the machine can do, measured in one run.

    python -m benchmarks.kernels.linear --threads 2 --seconds 60

Each side runs in a process of its own, asked for samples in turn. One row of a matrix larger than
the caches is compared with the bandwidth of memory, many rows with the rate of multiply-adds: of
floats, of pairs of 16-bit integers where the weight is integers, of bytes where x is too, and of
tiles that stay in registers for bf16 where the processor has AMX. torch's integers of 4 bits have
the same groups and an x of bf16; beside an x of bytes its 8-bit weights have one too.

    python -m benchmarks.kernels.linear --threads 1 --clock cpu

counts the time that a process computed instead of the time that passed, for machines that others
never leave alone: one thread only, and what others do to caches and memory still counts.
"""

import argparse
import os
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.kernels.linear_cases import Case, Work, cases_with
from runtime.timing import Sample, sample, summarise

SETTLE_SECONDS = 0.002


def computed(work: Work) -> Sample:
    """Run `work` once and count the time that this process computed."""
    start = time.process_time()
    work()
    return Sample(time.process_time() - start, 0.0)


def serve(side: str, threads: int, clock: str, cases: tuple[Case, ...], pipe: Connection) -> None:
    """Answer each name with a sample of its work, until None comes."""
    if side == "own":
        from benchmarks.kernels.linear_own import OwnSide as Side
    else:
        from benchmarks.kernels.linear_torch import TorchSide as Side
    engine: Any = Side(threads, cases)
    take = {"wall": sample, "cpu": computed}[clock]
    for work in engine.works.values():
        work()
    pipe.send(engine.scales)
    while (name := pipe.recv()) is not None:
        time.sleep(SETTLE_SECONDS)
        pipe.send(take(engine.works[name]))


def measure(
    threads: int, seconds: float, clock: str, cases: tuple[Case, ...]
) -> tuple[dict[tuple[str, str], list[Sample]], Any]:
    """Samples of every case of both sides, taken in turn, and what the ceilings count."""
    spawn = get_context("spawn")
    pipes: dict[str, Connection] = {}
    scales: dict[str, int] = {}
    for side in ("own", "torch"):
        pipes[side], theirs = spawn.Pipe()
        spawn.Process(target=serve, args=(side, threads, clock, cases, theirs), daemon=True).start()
        scales |= pipes[side].recv()
    asked = [("own", name) for name in scales]
    asked += [(side, case.name) for case in cases for side in pipes]
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
    print(f"{options.threads} threads; memory is read at {ceilings['read']:.1f} GB/s, ", end="")
    print(f"multiply-adds run at {ceilings['multiply_add']:.0f} GF, ", end="")
    print(f"those of pairs of 16-bit integers at {ceilings['pairs']:.0f} G, ", end="")
    print(f"of bytes at {ceilings['bytes']:.0f} G", end="")
    print(f", products of tiles at {ceilings['tiles']:.0f} GF" if "tiles" in ceilings else "")
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
        return case.bytes / seconds / 1e9, "GB/s", ceilings["read"]
    rate = case.operations / seconds / 1e9
    if case.bits:
        return rate, "G", ceilings["pairs" if case.x_bits == 16 else "bytes"]
    best = "tiles" if case.kind == "bf16" and "tiles" in ceilings else "multiply_add"
    return rate, "GF", ceilings[best]


if __name__ == "__main__":
    main()
