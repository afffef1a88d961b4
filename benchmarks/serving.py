"""sala-serve under load over HTTP, compared with llama.cpp's servers on the same GGUF file.

    python -m benchmarks.serving --llama-server BINARY --llama-cpp PYTHON

BINARY is llama.cpp's llama-server, PYTHON that of an environment with llama-cpp-python[server]; a
side without one is left out. Streams: SmolLM2-135M-Instruct, as `make chat` gets it, 1 to 32
streams of mixed lengths, the sides in turn. Decoding: eight answers over HTTP and by sala-bench, in
turn. Stalls: a prompt of 1.5K tokens among running streams of each side. Long prompts: the trained
example with sparse attention (`make demo`), a prompt of 64K tokens among running streams, and
questions on a document of 32K tokens, before and after a restart.

Every row is kept in --work as soon as it was measured: called again, a run continues with the next
one. --stop-after SECONDS ends a run in time.
"""

import os
import signal
import sys
import time
from math import inf
from pathlib import Path

import click
from rich.console import Console

from benchmarks.machine import machine_document
from benchmarks.markdown import write_report
from benchmarks.models.row_record import RowRecord
from benchmarks.served.serving_parts import BATCH, MAX_STALL, PARTS, ServingParts
from benchmarks.served.serving_report import brief, markdown

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("sala-compile", "apache-tvm", "apache-tvm-ffi", "numpy", "fastapi", "uvicorn")


@click.command(help=__doc__.partition("\n")[0])
@click.option("--llama-server", metavar="BINARY", help="llama.cpp's server.")
@click.option("--llama-cpp", metavar="PYTHON", help="Of an environment with its server.")
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), default=PARTS)
@click.option("--rounds", default=3, show_default=True, help="Samples of every row.")
@click.option("--threads", default=len(os.sched_getaffinity(0)), show_default=True)
@click.option(
    "--stop-after", type=float, default=inf, metavar="SECONDS", help="Begin no row after that time."
)
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/serving"))
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS / "serving.json")
def main(
    llama_server: str | None,
    llama_cpp: str | None,
    parts: tuple[str, ...],
    rounds: int,
    threads: int,
    stop_after: float,
    work: Path,
    output: Path,
) -> None:
    """Compile what is missing, measure the rows that are missing, write and print the tables."""
    console, end = Console(stderr=True), time.monotonic() + stop_after
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # servers end with it
    machine = machine_document(PACKAGES, threads)
    asked = {"threads": threads, "processor": machine["processor"], "batch": BATCH}
    asked |= {"peers": [bool(llama_server), bool(llama_cpp)], "max_stall": MAX_STALL}
    record = RowRecord(work / "record.json", asked)
    bench = ServingParts(work, rounds, threads, llama_server, llama_cpp)
    for part in parts:

        def is_missing(name: str, part: str = part) -> bool:
            return not record.has(part, name) and time.monotonic() < end

        for name, row in getattr(bench, part)(is_missing):
            record.add(part, name, row)
            console.print(f"{part}, {name}: {brief(part, row)}")
    write_report(output, machine | record.document, markdown)
    click.echo(output.with_suffix(".md").read_text())


if __name__ == "__main__":
    main()
