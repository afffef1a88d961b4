"""Decode where others use the CPUs too: ours and llama.cpp on the same GGUF file, in turns.

    python -m benchmarks.busy_machine FILE.gguf NAME.sala --llama-cpp PYTHON [--loops 0,4,15]

So many processes that count in a loop run meanwhile, at the priority of the engines. PYTHON is that
of an environment with llama-cpp-python.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import click

from benchmarks.machine import machine_document
from benchmarks.markdown import page, table
from benchmarks.models.side_process import SideProcess

OURS, LLAMA = "sala-compile", "llama.cpp"
HISTORY = 256
MOST_STEPS = 1024
LOOP = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"
"""Counts while its parent is there."""
COLUMNS = ["busy processes", OURS, "slowest, fastest", LLAMA, "slowest, fastest", "times as fast"]
PACKAGES = ("sala-compile", "apache-tvm-ffi", "numpy")


@click.command(help=__doc__)
@click.argument("gguf", type=click.Path(path_type=Path))
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option("--llama-cpp", required=True, metavar="PYTHON")
@click.option("--loops", default="0,4,15", show_default=True, help="Processes beside the engines.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--steps", default=16, show_default=True, help="Of a sample.")
@click.option("--threads", default=len(os.sched_getaffinity(0)), show_default=True)
@click.option("--output", type=click.Path(path_type=Path))
def main(
    gguf: Path,
    artifact: Path,
    llama_cpp: str,
    loops: str,
    rounds: int,
    steps: int,
    threads: int,
    output: Path | None,
) -> None:
    """Measure every load, print the tokens a second."""
    document = machine_document(PACKAGES, threads)
    if document["real_time"]:
        raise click.UsageError("with real-time priority nobody else gets the CPUs: run it without")
    asked = {
        OURS: (sys.executable, "benchmarks.models.sala_side", artifact),
        LLAMA: (llama_cpp, "benchmarks.models.llama_cpp_side", gguf),
    }
    rows: list[list[str]] = []
    with ExitStack() as stack:
        sides: dict[str, SideProcess] = {}
        for name, (python, module, model) in asked.items():
            sides[name] = SideProcess(python, module, {"model": str(model), "threads": threads})
            stack.callback(sides[name].close)
            sides[name].prepare(1, HISTORY, MOST_STEPS)
            sides[name].decode(1)  # what is done once
        for count in map(int, loops.split(",")):
            with _busy(count):
                rates = _rates(sides, rounds, steps)
            rows.append([str(count), *_cells(rates)])
            click.echo("  ".join(rows[-1]), err=True)
    text = f"Decode after {HISTORY} tokens of `{gguf.name}`, tokens a second, {rounds} samples."
    report = page("Decode on a busy machine", document, text, table(COLUMNS, rows))
    click.echo(report)
    if output is not None:
        output.write_text(report, encoding="utf-8")


@contextmanager
def _busy(count: int) -> Iterator[None]:
    """So many processes that count, until the end of the block."""
    processes = [subprocess.Popen([sys.executable, "-c", LOOP]) for _ in range(count)]
    try:
        yield
    finally:
        for each in processes:
            each.kill()
            each.wait()


def _rates(sides: dict[str, SideProcess], rounds: int, steps: int) -> dict[str, list[float]]:
    """Tokens a second of every sample, by side."""
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            rates[name].append(steps / side.decode(steps).seconds)
    return rates


def _cells(rates: dict[str, Sequence[float]]) -> list[str]:
    cells: list[str] = []
    for taken in rates.values():
        cells += [f"{median(taken):.1f}", f"{min(taken):.1f}, {max(taken):.1f}"]
    own, peer = rates.values()
    return [*cells, f"{median(a / b for a, b in zip(own, peer, strict=True)):.2f}"]


if __name__ == "__main__":
    main()
