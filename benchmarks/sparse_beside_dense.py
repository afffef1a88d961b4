"""Time to first token of the released MiniCPM-SALA's layers next to those of Qwen3-8B.

    python -m benchmarks.sparse_beside_dense --until 128K

Both are compiled here with random weights of their full width: of the one a sparse layer and three
linear ones, of the other two; at 256K of the first the sparse layer and a linear one. A prompt is
read in segments, of which every one is timed, the models in turn, so that a change of the machine's
speed meets both. The time to the first token is the sum of the segments. Decoding is timed after
texts of these lengths whose keys, values and states are random numbers.

Every row is kept in --work as soon as it was measured: called again, a run continues with the next
one (behind random numbers in place of the text that was read). --stop-after SECONDS ends a run in
time. On a machine with other work, `chrt -f 1` in front keeps that off the CPUs in the samples.
"""

import json
import os
import sys
import time
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from benchmarks.machine import machine_document
from benchmarks.markdown import write_report
from benchmarks.models.row_record import RowRecord
from benchmarks.models.side_process import SideProcess
from benchmarks.models.sparse_beside_dense_report import markdown
from sala_compile.codegen.cli.compile import command as compile_command
from sala_compile.runtime.artifact import open_artifact
from sala_compile.runtime.common.option_types import TOKENS
from sala_compile.runtime.common.timing import Sample, summarise

RELEASED = Path(__file__).parent.parent / "examples" / "released-config.json"
RESULTS = Path(__file__).parent / "results"
PACKAGES = ("sala-compile", "apache-tvm", "apache-tvm-ffi", "numpy")
SIDE = "benchmarks.models.sala_side"
PRECISIONS = {"int4": ("--quantize", "int4-g128"), "bf16": ()}
SPARSE, LINEAR = "minicpm4", "lightning-attn"
LENGTHS = (16 << 10, 64 << 10, 128 << 10, 256 << 10)
LONGEST_OF_FOUR = 128 << 10
"""Beyond that, two layers of each."""
SEGMENT = 8 << 10
DECODED, ROUNDS = 4, 5
QWEN3_8B: dict[str, Any] = {
    "model_type": "qwen3",
    "vocab_size": 151936,
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 40960,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "hidden_act": "silu",
    "bos_token_id": 151643,
    "eos_token_id": 151645,
}


@dataclass(frozen=True, slots=True)
class Stack:
    """Some layers of a model at full width."""

    name: str
    config: dict[str, Any]
    layers: int
    whole: int
    """Layers of the model."""

    def artifact(self, work: Path, precision: str, console: Console) -> Path:
        """The compiled layers, made where they are not there yet."""
        path = work / f"{self.name}-{self.layers}-{precision}.sala"
        if not path.exists():
            console.print(f"Compiling {path}")
            config = work / f"{self.name}-{self.layers}.json"
            config.write_text(json.dumps(self.config))
            options = ["--weights", "random", "--chunk", "1K", *PRECISIONS[precision]]
            compile_command(
                ["--config", str(config), "-o", str(path), *options], standalone_mode=False
            )
        return path


def stacks(longest: bool) -> tuple[Stack, Stack]:
    """The two models for lengths up to 128K, or for the longest."""
    released = json.loads(RELEASED.read_text())
    mixers = [SPARSE, LINEAR] if longest else [SPARSE, LINEAR, LINEAR, LINEAR]
    sala = released | {"num_hidden_layers": len(mixers), "mixer_types": mixers}
    return (
        Stack("sala", sala, len(mixers), released["num_hidden_layers"]),
        Stack("qwen3", QWEN3_8B | {"num_hidden_layers": 2}, 2, QWEN3_8B["num_hidden_layers"]),
    )


@click.command(help=__doc__.partition("\n")[0])
@click.option("--until", type=TOKENS, default="128K", show_default=True, help="Longest prompt.")
@click.option("--precision", "precisions", multiple=True, default=tuple(PRECISIONS))
@click.option("--threads", default=len(os.sched_getaffinity(0)), show_default=True)
@click.option(
    "--stop-after", type=float, default=inf, metavar="SECONDS", help="Begin no row after that time."
)
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/sparse-beside-dense"))
@click.option(
    "--output", type=click.Path(path_type=Path), default=RESULTS / "sparse_beside_dense.json"
)
def main(
    until: int,
    precisions: tuple[str, ...],
    threads: int,
    stop_after: float,
    work: Path,
    output: Path,
) -> None:
    """Measure the rows that are missing, write and print the tables."""
    console, end = Console(stderr=True), time.monotonic() + stop_after
    machine = machine_document(PACKAGES, threads)
    record = RowRecord(
        work / "record.json", {"threads": threads, "processor": machine["processor"]}
    )
    lengths = [length for length in LENGTHS if length <= until]
    for longest in (False, True):
        own = [length for length in lengths if (length > LONGEST_OF_FOUR) == longest]
        for precision in precisions if own else ():
            pair = Pair(stacks(longest), precision, threads, record, work, console)
            pair.decode(own, end)
            pair.read(max(own), end)
            pair.close()
    write_report(output, machine | record.document | {"segment": SEGMENT}, markdown)
    click.echo(output.with_suffix(".md").read_text())


class Pair:
    """Both models in one precision, each in a process that is started when it is needed."""

    def __init__(
        self,
        made: tuple[Stack, Stack],
        precision: str,
        threads: int,
        record: RowRecord,
        work: Path,
        console: Console,
    ) -> None:
        """Compile what is missing, and note what a token reads."""
        self._stacks, self._threads, self._record, self._console = made, threads, record, console
        self._paths = {each.name: each.artifact(work, precision, console) for each in made}
        self._group = f"{precision}, {made[0].layers} and {made[1].layers} layers"
        self._sides: dict[str, SideProcess] = {}
        if not record.has(self._group, "model"):
            record.add(self._group, "model", {each.name: self._described(each) for each in made})

    def decode(self, lengths: list[int], end: float) -> None:
        """Time decoding after every length, the models in turn."""
        for length in lengths:
            name = f"decode {length}"
            if self._record.has(self._group, name) or time.monotonic() > end:
                continue
            room = DECODED * (ROUNDS + 1)
            for side in self._open().values():
                side.prepare(1, length, room)
                side.decode(1)  # what is done once
            taken: dict[str, list[Sample]] = {side: [] for side in self._sides}
            for _ in range(ROUNDS):
                for side, process in self._sides.items():
                    taken[side].append(process.decode(DECODED))
            self._keep(name, {side: _seconds(found, DECODED) for side, found in taken.items()})

    def read(self, until: int, end: float) -> None:
        """Time the segments of a prompt, the models in turn."""
        place = None
        for start in range(0, until, SEGMENT):
            name = f"segment {start}"
            if self._record.has(self._group, name) or time.monotonic() > end:
                continue
            if place != start:
                for side in self._open().values():
                    side.prepare(1, start, until - start)
            found = {
                side: _seconds([process.grow(SEGMENT)], 1) for side, process in self._sides.items()
            }
            self._keep(name, found)
            place = start + SEGMENT

    def close(self) -> None:
        """End the processes."""
        for side in self._sides.values():
            side.close()

    def _open(self) -> dict[str, SideProcess]:
        if not self._sides:
            self._sides = {
                name: SideProcess(
                    sys.executable, SIDE, {"model": str(path), "threads": self._threads}
                )
                for name, path in self._paths.items()
            }
        return self._sides

    def _keep(self, name: str, row: dict[str, Any]) -> None:
        self._record.add(self._group, name, row)
        shown = ", ".join(f"{side} {found['seconds']:.4g} s" for side, found in row.items())
        self._console.print(f"{self._group}, {name}: {shown}")

    def _described(self, stack: Stack) -> dict[str, Any]:
        """Layers, and the bytes of weights that a decoded token reads: all but the embedding's."""
        tensors = open_artifact(self._paths[stack.name]).weights
        sizes = {name: tensor.spec.nbytes for name, (_, tensor) in tensors.items()}
        read = {name: size for name, size in sizes.items() if "embed_tokens" not in name}
        head = sum(size for name, size in read.items() if "lm_head" in name)
        return {
            "layers": stack.layers,
            "whole": stack.whole,
            "read_bytes": sum(read.values()),
            "head_bytes": head,
        }


def _seconds(samples: list[Sample], count: int) -> dict[str, float]:
    found = summarise(samples)
    return {
        "seconds": found.median / count,
        "clean": found.clean,
        "samples": found.total,
        "waited": max(each.waited for each in samples),
    }


if __name__ == "__main__":
    main()
