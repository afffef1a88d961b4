"""An artifact next to the same checkpoint exported to ONNX and run by onnxruntime.

    python -m benchmarks.onnx_beside

A MiniCPM-SALA of four layers (one sparse, three linear) and a dense Llama of four, both 2048 wide
with random weights, in float32 and with integers of 4 bits (8 in the head). With integers
onnxruntime may round activations to 8 bits (`accuracy_level` 4), as its own models do: in float32,
as the export asks for, it has no fast product of 8 bits. The artifact rounds none. The same threads
for both, which are sampled in turn, so that a change of the machine's speed meets both. onnxruntime
reads a prompt in one call, the artifact in its chunks. Decoding is timed after texts of these
lengths whose keys, values and states are random numbers; past 8192 tokens the sparse layer selects.

Every row is kept in --work as soon as it was measured: called again, a run continues with the next
one. --stop-after SECONDS ends a run in time.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from math import inf
from pathlib import Path
from typing import Any

import click
import onnx
from rich.console import Console

from benchmarks.machine import machine_document
from benchmarks.markdown import Document, page, table, write_report
from benchmarks.models.row_record import RowRecord
from benchmarks.models.side_process import SideProcess
from benchmarks.paired import times_as_fast
from sala_compile.codegen.cli.compile import command as compile_command
from sala_compile.runtime.common.timing import Sample, summarise
from sala_compile.sala_ir.checkpoint.random_checkpoint import write_random_checkpoint

RELEASED = Path(__file__).parent.parent / "examples" / "released-config.json"
RESULTS = Path(__file__).parent / "results"
PACKAGES = ("sala-compile", "apache-tvm", "onnxruntime", "onnx", "numpy")
SIDES = {
    "artifact": "benchmarks.models.sala_side",
    "onnxruntime": "benchmarks.models.onnxruntime_side",
}
PRECISIONS = {
    "float32": ("--dtype", "float32"),
    "int4": ("--dtype", "float32", "--quantize", "int4-g32", "--rounding", "nearest"),
}
PREFILLS = (128, 1024)
DECODES = (128, 4096, 16384)
STEPS, ROUNDS = 4, 5
ROUNDED = 4
"""The accuracy level of products whose activations are rounded to 8 bits."""
WIDTH: dict[str, Any] = {
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_attention_heads": 16,
    "vocab_size": 32768,
    "num_hidden_layers": 4,
}


def configurations() -> dict[str, dict[str, Any]]:
    """The two models."""
    released = json.loads(RELEASED.read_text())
    mixers = ["minicpm4", "lightning-attn", "lightning-attn", "lightning-attn"]
    heads = {"lightning_nh": 16, "lightning_nkv": 16, "eos_token_id": 2}
    dense = {
        "model_type": "llama",
        "num_key_value_heads": 4,
        "head_dim": 128,
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    return {"sala": released | WIDTH | heads | {"mixer_types": mixers}, "llama": dense | WIDTH}


@click.command(help=__doc__.partition("\n")[0])
@click.option("--threads", default=len(os.sched_getaffinity(0)), show_default=True)
@click.option("--model", "models", multiple=True, default=tuple(configurations()))
@click.option("--precision", "precisions", multiple=True, default=tuple(PRECISIONS))
@click.option(
    "--stop-after", type=float, default=inf, metavar="SECONDS", help="Begin no row after that time."
)
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/onnx-beside"))
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS / "onnx_beside.json")
def main(
    threads: int,
    models: tuple[str, ...],
    precisions: tuple[str, ...],
    stop_after: float,
    work: Path,
    output: Path,
) -> None:
    """Measure the rows that are missing, write and print the tables."""
    console, end = Console(stderr=True), time.monotonic() + stop_after
    machine = machine_document(PACKAGES, threads)
    asked = {"threads": threads, "processor": machine["processor"]}
    record = RowRecord(work / "record.json", asked)
    for name in models:
        for precision in precisions:
            _measure(name, precision, threads, record, work, end, console)
    write_report(output, machine | record.document, markdown)
    click.echo(output.with_suffix(".md").read_text())


def _measure(
    name: str,
    precision: str,
    threads: int,
    record: RowRecord,
    work: Path,
    end: float,
    console: Console,
) -> None:
    """The rows of a model in a precision, the sides in turn."""
    group = f"{name}, {precision}"
    missing = [each for each in _rows() if not record.has(group, each[0])]
    if not missing or time.monotonic() > end:
        return
    paths = _files(name, precision, work, console)
    sides = {
        side: SideProcess(sys.executable, module, {"model": str(paths[side]), "threads": threads})
        for side, module in SIDES.items()
    }
    for row, kind, length in missing:
        if time.monotonic() > end:
            break
        taken: dict[str, list[Sample]] = {side: [] for side in sides}
        for process in sides.values():
            _prepare(process, kind, length)
        for _ in range(ROUNDS):
            for side, process in sides.items():
                decodes = kind == "decode"
                taken[side].append(process.decode(STEPS) if decodes else process.read(length))
        count = STEPS if kind == "decode" else length
        record.add(group, row, _row(taken, count))
        console.print(group, row, record.row(group, row)["times"])
    for process in sides.values():
        process.close()


def _rows() -> Iterator[tuple[str, str, int]]:
    """Name, kind and length of every row."""
    yield from ((f"prefill {length}", "prefill", length) for length in PREFILLS)
    yield from ((f"decode at {length}", "decode", length) for length in DECODES)


def _prepare(process: SideProcess, kind: str, length: int) -> None:
    """Do once what is done at the first use of a length."""
    if kind == "decode":
        process.prepare(1, length, STEPS * (ROUNDS + 1))
        process.decode(1)
    else:
        process.prepare(1, 0, length)
        process.first(length)


def _files(name: str, precision: str, work: Path, console: Console) -> dict[str, Path]:
    """The artifact and the export of a model, made where they are not there yet."""
    checkpoint = work / name
    if not (checkpoint / "config.json").exists():
        console.print(f"Writing {checkpoint}")
        write_random_checkpoint(checkpoint, configurations()[name])
    artifact, export = (work / f"{name}-{precision}{end}" for end in (".sala", "-onnx"))
    for path, options in ((artifact, ("--chunk", "1K")), (export, ("--emit", "onnx"))):
        if not path.exists():
            console.print(f"Compiling {path}")
            arguments = [str(checkpoint), "-o", str(path), *PRECISIONS[precision], *options]
            compile_command(arguments, standalone_mode=False)
    _round_activations(export / "model.onnx")
    return {"artifact": artifact, "onnxruntime": export / "model.onnx"}


def _round_activations(path: Path) -> None:
    """Allow onnxruntime its fast kernels of integers."""
    model = onnx.load(path, load_external_data=False)
    for node in model.graph.node:
        for each in node.attribute:
            if each.name == "accuracy_level":
                each.i = ROUNDED
    path.write_bytes(model.SerializeToString())


def _row(taken: dict[str, list[Sample]], count: int) -> dict[str, Any]:
    found = {side: summarise(samples) for side, samples in taken.items()}
    return {
        "times": times_as_fast(taken["artifact"], taken["onnxruntime"]),
        "rates": {side: count / each.median for side, each in found.items()},
        "clean": {side: each.clean for side, each in found.items()},
        "samples": ROUNDS,
    }


def markdown(document: Document) -> str:
    """The tables for people."""
    text = (
        "Tokens/s, medians of clean samples (those whose threads did not wait for a CPU), in "
        "brackets how many were clean. Times as fast: the median over the turns in which both "
        "sides were sampled once. Made by `python -m benchmarks.onnx_beside`, which says what "
        "the models are."
    )
    blocks: list[Any] = [text]
    for group, rows in document["rows"].items():
        lines = [
            [name, *(_rate(row, side) for side in SIDES), f"{row['times']:.2f}"]
            for name, row in rows.items()
        ]
        blocks += [f"## {group}", table(("work", *SIDES, "times onnxruntime"), lines, 1)]
    return page("Artifacts next to their exports in onnxruntime", document, *blocks)


def _rate(row: dict[str, Any], side: str) -> str:
    return f"{row['rates'][side]:.1f} ({row['clean'][side]}/{row['samples']})"


if __name__ == "__main__":
    main()
