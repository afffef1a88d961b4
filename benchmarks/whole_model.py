"""Whole models compared with llama.cpp and transformers: the same GGUF file, the same threads.

    python -m benchmarks.whole_model --llama-cpp PYTHON --transformers PYTHON

PYTHON are those of environments with llama-cpp-python, and with transformers and torch; a side
without one is left out. The models are SmolLM2-135M-Instruct, as `make chat` gets it, and a Qwen3
shape of 1.5 billion parameters with random weights in each of some types. Every side stays in a
process of its own and is asked in turn, so that a change of the machine's speed meets all of them.

Every row is kept in --work as soon as it was measured: called again, a run continues with the next
one. --stop-after SECONDS ends a run in time. On a machine with other work, `chrt -f 1` in front
keeps that off the CPUs during the samples.
"""

import os
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from math import inf
from pathlib import Path
from statistics import median
from typing import Any

import click
from rich.console import Console

from benchmarks.machine import machine_document
from benchmarks.markdown import write_report
from benchmarks.models.random_gguf import Shape, write_random_gguf
from benchmarks.models.row_record import RowRecord
from benchmarks.models.side_process import SideProcess
from benchmarks.models.whole_model_report import brief, markdown
from benchmarks.paired import times_as_fast
from examples.chat.smollm2 import fetch
from sala_compile.codegen.cli.compile import command as compile_command
from sala_compile.runtime.artifact import open_artifact
from sala_compile.runtime.common.option_types import BYTES
from sala_compile.runtime.common.timing import Sample, summarise

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("sala-compile", "apache-tvm", "apache-tvm-ffi", "numpy")
OURS, LLAMA, TORCH = "sala-compile", "llama.cpp", "transformers"
MODULES = {
    OURS: "benchmarks.models.sala_side",
    LLAMA: "benchmarks.models.llama_cpp_side",
    TORCH: "benchmarks.models.transformers_side",
}
RANDOM = {"Q4_0": "Q6_K", "Q4_K": "Q6_K", "Q8_0": "Q8_0", "BF16": "BF16"}
"""Types of the linears of a random model -> of its embedding, which is the head too."""
MODELS = ("smollm2", *(f"qwen3-1.5b-{kind}" for kind in RANDOM))
PLAIN = (MODELS[0], MODELS[-1])
"""Models that transformers runs: it multiplies bfloat16 whatever the types of a random file."""
PROMPTS = (512, 4096)
LENGTHS, BATCHES = (128, 4096, 32768), (1, 4, 8)
START_TOKENS, MEMORY_TOKENS = 16, 512
DECODED = 8
"""Steps of a sample of decode."""


@dataclass(frozen=True, slots=True)
class Work:
    """A row: a kind of work, the tokens before it or read by it, and the sequences of its step."""

    kind: str
    tokens: int = 0
    batch: int = 1

    @property
    def name(self) -> str:
        """In words."""
        if self.kind == "decode":
            return f"decode at {self.tokens}, batch {self.batch}"
        return f"prefill {self.tokens}" if self.kind == "prefill" else self.kind


WORKS = (
    Work("start"),
    *(Work("prefill", tokens) for tokens in PROMPTS),
    *(Work("decode", tokens, batch) for tokens in LENGTHS for batch in BATCHES),
)


@dataclass(frozen=True, slots=True)
class Model:
    """The files of a model on this machine, and the Python of every side that runs it."""

    gguf: Path
    artifact: Path
    pythons: dict[str, str]
    threads: int

    def open(self, side: str) -> SideProcess:
        """Start the process of a side."""
        path = self.artifact if side == OURS else self.gguf
        options = {"model": str(path), "threads": self.threads}
        return SideProcess(self.pythons[side], MODULES[side], options)


@click.command(help=__doc__.partition("\n")[0])
@click.option("--llama-cpp", metavar="PYTHON", help="Of an environment with llama-cpp-python.")
@click.option("--transformers", metavar="PYTHON", help="Of one with transformers and torch.")
@click.option("--model", "models", multiple=True, type=click.Choice(MODELS), default=MODELS)
@click.option("--rounds", default=5, show_default=True, help="Samples of every row.")
@click.option("--threads", default=len(os.sched_getaffinity(0)), show_default=True)
@click.option(
    "--memory", type=BYTES, default="5GiB", show_default=True, help="Of a cache, at most."
)
@click.option(
    "--stop-after", type=float, default=inf, metavar="SECONDS", help="Begin no row after that time."
)
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/whole-model"))
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS / "whole_model.json")
def main(
    llama_cpp: str | None,
    transformers: str | None,
    models: tuple[str, ...],
    rounds: int,
    threads: int,
    memory: int,
    stop_after: float,
    work: Path,
    output: Path,
) -> None:
    """Compile what is missing, measure the rows that are missing, write and print the tables."""
    console, end = Console(stderr=True), time.monotonic() + stop_after
    found = {OURS: sys.executable, LLAMA: llama_cpp, TORCH: transformers}
    pythons = {side: python for side, python in found.items() if python is not None}
    machine = machine_document(PACKAGES, threads)
    asked = {"sides": list(pythons), "threads": threads, "processor": machine["processor"]}
    record = RowRecord(work / "record.json", asked)
    with ExitStack() as stack:
        for name in models:
            own = pythons if name in PLAIN else {k: v for k, v in pythons.items() if k != TORCH}
            model = Model(*_files(work, name, console), own, threads)
            rows = Rows(model, rounds, memory, stack)
            for each in WORKS:
                if not record.has(name, each.name) and time.monotonic() < end:
                    record.add(name, each.name, rows.measure(each))
                    console.print(f"{name}, {each.name}: {brief(record.row(name, each.name))}")
            rows.close()
    write_report(output, machine | record.document, markdown)
    click.echo(output.with_suffix(".md").read_text())


class Rows:
    """Measures the rows of a model; the processes of its sides are started when they are needed."""

    def __init__(self, model: Model, rounds: int, memory: int, stack: ExitStack) -> None:
        """Start nothing yet."""
        self._model, self._rounds, self._memory, self._stack = model, rounds, memory, stack
        self._sides: dict[str, SideProcess] = {}

    def measure(self, work: Work) -> dict[str, Any]:
        """The row as it is kept."""
        if work.kind == "start":
            return self._start()
        need = _cache_bytes(self._model.artifact, work)
        if need > self._memory:
            return {"left_out": f"its cache takes {need / 2**30:.1f} GiB"}
        if not self._sides:
            self._sides = {side: self._model.open(side) for side in self._model.pythons}
        prefill = work.kind == "prefill"
        for side in self._sides.values():
            room = DECODED * (self._rounds + 1)
            side.prepare(*((1, 0, work.tokens + 1) if prefill else (work.batch, work.tokens, room)))
            if not prefill:
                side.decode(1)  # what is done once
        samples: dict[str, list[Sample]] = {side: [] for side in self._sides}
        long = work.tokens > PROMPTS[0]
        rounds = min(self._rounds, 2 if long else 3) if prefill else self._rounds
        for _ in range(rounds):
            for name, side in self._sides.items():
                found = side.read(work.tokens) if prefill else side.decode(DECODED)
                samples[name].append(found)
        tokens = work.tokens if prefill else work.batch * DECODED
        return _row(samples, {side: tokens / summarise(s).median for side, s in samples.items()})

    def close(self) -> None:
        """End the processes."""
        for side in self._sides.values():
            side.close()
        self._sides = {}

    def _start(self) -> dict[str, Any]:
        """Seconds from the start of a process to its first token, and its memory after a prompt."""
        samples: dict[str, list[Sample]] = {side: [] for side in self._model.pythons}
        memory: dict[str, dict[str, int]] = {}
        versions: dict[str, str] = {}
        for _ in range(min(self._rounds, 3)):
            for name in self._model.pythons:
                began = time.perf_counter()
                side = self._model.open(name)
                side.prepare(1, 0, MEMORY_TOKENS + DECODED)
                side.first(START_TOKENS)
                samples[name].append(Sample(time.perf_counter() - began, 0.0))
                side.read(MEMORY_TOKENS)
                memory[name] = side.memory()
                versions |= side.versions
                side.close()
        samples.pop(TORCH, None)  # it has no way of its own to read these files as they are
        seconds = {side: median(each.seconds for each in s) for side, s in samples.items()}
        return _row(samples, seconds) | {"memory": memory, "versions": versions}


def _row(samples: dict[str, list[Sample]], values: dict[str, float]) -> dict[str, Any]:
    """Values of all sides, how often the samples were clean, and how many times as fast ours is."""
    return {
        "values": values,
        "clean": {side: summarise(taken).clean for side, taken in samples.items()},
        "samples": {side: len(taken) for side, taken in samples.items()},
        "ratios": {
            peer: times_as_fast(samples[OURS], taken)
            for peer, taken in samples.items()
            if peer != OURS
        },
    }


def _files(work: Path, name: str, console: Console) -> tuple[Path, Path]:
    """The GGUF file of a model and the artifact, made where they are not there yet."""
    work.mkdir(parents=True, exist_ok=True)
    artifact = work / f"{name}.sala"
    if name == MODELS[0]:
        path = fetch()
    else:
        path, kind = work / f"{name}.gguf", name.rpartition("-")[2]
        if not path.exists():
            console.print(f"Writing {path}")
            draft = path.with_suffix(".tmp")
            write_random_gguf(draft, Shape(), kind, RANDOM[kind])
            draft.replace(path)
    if not artifact.exists():
        compile_command([str(path), "-o", str(artifact), "--context", "40K"], standalone_mode=False)
    return path, artifact


def _cache_bytes(artifact: Path, work: Work) -> int:
    """Bytes of keys and values of all sequences."""
    from sala_compile.runtime.state.state_layout import StateLayout

    program = open_artifact(artifact).program
    (target,) = program.targets
    return work.batch * sum(part.nbytes for part in StateLayout(program, target).parts(work.tokens))


if __name__ == "__main__":
    main()
