"""Stacks of the released model's matrices beside ggml, llama.cpp's kernels, measured in one run.

    python -m benchmarks.kernels.linear_ggml --ggml llama_cpp

llama.cpp does not know the model, so what it would call is compared: every matrix of some layers,
one behind the other, for one row (decode, all matrices larger than the caches) and for 512
(prefill). Both sides run in processes of their own, asked in turn, with threads of their own.
ggml's time is that of its best layout; it rounds rows to 8 bits, this project's rows are bf16.

--ggml is a folder of libggml-base.so and libggml-cpu.so, or an installed package with them.
"""

import os
from functools import partial
from pathlib import Path
from typing import Any

import click

from benchmarks.kernels.ggml_library import GgmlLibrary
from benchmarks.kernels.layer_stacks import KINDS, ROWS, Kind, matrices, stack, work_name
from benchmarks.kernels.linear import make_own
from benchmarks.kernels.linear_ggml_report import comparisons, markdown
from benchmarks.kernels.sides import Samples, Side, SideProcess, take_turns
from benchmarks.machine import machine_document
from benchmarks.markdown import write_report
from sala_compile.runtime.artifact.ceilings import Ceiling
from sala_compile.runtime.common.option_types import Several
from sala_compile.runtime.common.timing import summarise
from sala_compile.runtime.errors import reported_as

RESULTS = Path(__file__).parents[1] / "results"
PACKAGES = ("sala-compile", "apache-tvm", "apache-tvm-ffi", "numpy")
LEAST = 3
"""Samples of everything."""
DECODE_SHARE = 0.2
"""Of the time; a decode step is short."""


@click.command(help=__doc__.partition("\n")[0])
@click.option("--ggml", default="llama_cpp", show_default=True, metavar="FOLDER_OR_PACKAGE")
@click.option("--layers", default=2, show_default=True, help="The first of each four is sparse.")
@click.option("--kinds", type=click.Choice(tuple(KINDS)), default="released", show_default=True)
@click.option("--threads", type=Several(click.IntRange(min=1)), help="[default: 1 and all CPUs]")
@click.option("--seconds", default=200.0, show_default=True, help="For each number of threads.")
@click.option("--clock", type=click.Choice(("wall", "cpu")), default="wall", show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS / "linear_ggml.json")
def main(
    ggml: str,
    layers: int,
    kinds: str,
    threads: tuple[int, ...] | None,
    seconds: float,
    clock: str,
    output: Path,
) -> None:
    """Measure with each number of threads, write the tables and print them."""
    cpus = len(os.sched_getaffinity(0))
    threads = threads or tuple(sorted({1, cpus}))
    if clock == "cpu" and threads != (1,):
        raise click.UsageError("--clock cpu needs --threads 1")
    with reported_as("linear_ggml"):
        version = GgmlLibrary(ggml).call("version").decode()
    runs = []
    for count in threads:
        samples, scales = measure(ggml, layers, count, seconds, clock, KINDS[kinds])
        runs.append(_run(samples, scales, layers, count, KINDS[kinds]))
    document = machine_document(PACKAGES, max(threads))
    document["versions"]["ggml"] = version
    weights = sum(columns * depth for columns, depth in matrices(layers))
    document |= {"layers": layers, "weights": weights, "clock": clock, "runs": runs}
    write_report(output, document, markdown)
    click.echo(output.with_suffix(".md").read_text())


def make_ggml(where: str, layers: int, threads: int, kinds: tuple[Kind, ...]) -> Side:
    """ggml's kernels, made in the process that calls them."""
    from benchmarks.kernels.linear_ggml_side import GgmlSide

    with reported_as("linear_ggml"):
        return GgmlSide(where, layers, threads, kinds)


def measure(
    where: str, layers: int, threads: int, seconds: float, clock: str, kinds: tuple[Kind, ...]
) -> tuple[Samples, dict[str, int]]:
    """Samples of all stacks of both sides and of the ceilings, and what the ceilings count."""
    stacks = {
        work_name(work, kind.name): stack(kind, rows, layers)
        for work, rows in ROWS.items()
        for kind in kinds
    }
    sides = {
        "own": SideProcess(partial(make_own, stacks, threads), clock),
        "ggml": SideProcess(partial(make_ggml, where, layers, threads, kinds), clock),
    }
    scales = sides["own"].scales
    samples: Samples = {}
    try:
        for work in ROWS:
            wanted = [("own", name) for name in scales]
            wanted += [
                (side, name)
                for side, process in sides.items()
                for name in process.names
                if name.split()[0] == work
            ]
            share = DECODE_SHARE if work == "decode" else 1 - DECODE_SHARE
            taken = take_turns(sides, wanted, share * seconds, LEAST)
            for each, found in taken.items():
                samples.setdefault(each, []).extend(found)
    finally:
        for process in sides.values():
            process.close()
    return samples, scales


def _run(
    samples: Samples,
    scales: dict[str, int],
    layers: int,
    threads: int,
    kinds: tuple[Kind, ...],
) -> dict[str, Any]:
    """What one number of threads reached."""
    rates = {name: scale / summarise(samples["own", name]).median for name, scale in scales.items()}
    return {
        "threads": threads,
        "read_bytes_per_second": rates[Ceiling.READ],
        "operations_per_second": {name: rate for name, rate in rates.items() if "read" not in name},
        "rows": comparisons(samples, layers, kinds),
    }


if __name__ == "__main__":
    main()
