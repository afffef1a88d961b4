"""Every mixer kernel beside its limit and beside torch's form in transformers, in one run.

    python -m benchmarks.mixers --threads 2 --seconds 100 --output FILE.json

Shapes are those of released models, one layer, projections left out. The limit is the larger of two
times: of its bytes at the rate at which memory is read, and of its operations at the best rate of
the element type, both measured in the same run, in turns. A generated token comes after 32Ki
others; memory is read before each sample, so that no state is in a cache. On a machine with other
work, `chrt -f 1` in front keeps that off the CPUs in the samples.
"""

import argparse
import os
import time
from pathlib import Path
from typing import Any

from benchmarks.kernels.ceilings import CeilingWorks
from benchmarks.machine import machine_document
from benchmarks.markdown import page, table, write_report
from benchmarks.mixer_cases import CHUNK, F32, Case, call, mixers
from benchmarks.mixer_torch import Work, torch_form
from benchmarks.threads import use_threads
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.codegen.write.cpu_library import compile_functions
from sala_compile.runtime.artifact.ceilings import Ceiling
from sala_compile.runtime.common.timing import Sample, sample, summarise

PEER = "torch: "


def works_of(cases: list[Case], target: CpuTarget, threads: int) -> dict[str, Work]:
    """Kernels and torch's forms by name."""
    import torch

    torch.set_num_threads(threads)
    specs = {case.mixer.spec.symbol: case.mixer for case in cases}
    built = {name: mixer.family.build(mixer.spec, target) for name, mixer in specs.items()}
    module = compile_functions(built, target)
    found: dict[str, Work] = {}
    for case in cases:
        found[case.name] = call(case, module, target, threads)
        found[PEER + case.name] = torch_form(case)
    return found


def measure(works: dict[str, Work], seconds: float) -> dict[str, list[Sample]]:
    """Samples of everything, taken in turn, memory read before each."""
    samples: dict[str, list[Sample]] = {name: [] for name in works}
    for work in works.values():
        work()
    end = time.monotonic() + seconds
    while time.monotonic() < end or len(samples[Ceiling.READ]) < 3:
        for name, work in works.items():
            works[Ceiling.READ]()
            samples[name].append(sample(work))
    return samples


def row_of(
    case: Case, samples: dict[str, list[Sample]], rates: dict[Ceiling, float]
) -> dict[str, Any]:
    """Seconds of the kernel and of torch, and the part that the limit is of the first."""
    kinds = (Ceiling.FLOAT32,) if case.mixer.element is F32 else tuple(rates)
    peak = max(rates[kind] for kind in kinds if kind in rates and kind is not Ceiling.READ)
    by_bytes, by_operations = case.bytes / rates[Ceiling.READ], case.operations / peak
    own, other = summarise(samples[case.name]), summarise(samples[PEER + case.name])
    return {
        "work": case.name,
        "seconds": own.median,
        "limit": "bytes" if by_bytes > by_operations else "operations",
        "of_limit": max(by_bytes, by_operations) / own.median,
        "torch_seconds": other.median,
        "clean": own.clean,
        "total": own.total,
    }


def markdown(document: dict[str, Any]) -> str:
    """The page of a run."""
    lines = [
        (
            row["work"],
            f"{row['seconds'] * 1e3:.3f}",
            row["limit"],
            f"{row['of_limit']:.2f}",
            f"{row['torch_seconds'] / row['seconds']:.1f}",
            f"{row['clean']}/{row['total']}",
        )
        for row in document["rows"]
    ]
    measured = ", ".join(
        f"{name.removeprefix('ceiling_')} {rate / 1e9:.0f} G"
        for name, rate in document["ceilings"].items()
    )
    return page(
        "Mixers of one layer",
        document,
        "Each kernel beside its limit (bytes or operations at the rates of the same run: "
        f"{measured} a second) and beside the form of transformers with torch (`torch / ours`), in "
        "turns, memory read before each sample. Made by `python -m benchmarks.mixers`.",
        table(("work", "ms", "limit", "of the limit", "torch / ours", "clean"), lines, 1),
    )


def main() -> None:
    """Measure, print the page, and write it if a file is named."""
    parser = argparse.ArgumentParser(description="Mixers of one layer.")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seconds", type=float, default=100.0)
    parser.add_argument("--chunk", type=int, default=CHUNK, help="tokens that are read in a step")
    parser.add_argument("--only", default="", help="mixers whose names have this text")
    parser.add_argument("--target", type=CpuTarget.parse, default=CpuTarget.host())
    parser.add_argument("--output", type=Path, help="where to write the JSON, and a page beside it")
    options = parser.parse_args()
    use_threads(options.threads)
    chosen = [mixer for mixer in mixers() if options.only in mixer.name]
    cases = [
        Case(mixer, tokens) for mixer in chosen for tokens in (1, mixer.chunk or options.chunk)
    ]
    ceilings = CeilingWorks(options.target, options.threads)
    kinds = [kind for kind in (Ceiling.READ, Ceiling.FLOAT32, Ceiling.BFLOAT16)]
    scales = {kind: ceilings.scales[kind] for kind in kinds if kind in ceilings.scales}
    works: dict[str, Work] = {kind: ceilings.works[kind] for kind in scales}
    works |= works_of(cases, options.target, options.threads)
    samples = measure(works, options.seconds)
    rates = {kind: scale / summarise(samples[kind]).median for kind, scale in scales.items()}
    document = machine_document(("apache-tvm", "numpy", "torch", "transformers"), options.threads)
    document |= {
        "ceilings": {kind.value: rate for kind, rate in rates.items()},
        "rows": [row_of(case, samples, rates) for case in cases],
    }
    print(markdown(document))
    if options.output:
        write_report(options.output, document, markdown)


if __name__ == "__main__":
    main()
