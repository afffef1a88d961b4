"""Generated tokens a second of a released shape with experts, beside the bandwidth of memory.

    python -m benchmarks.experts --output benchmarks/results/DATE-experts.json

A few layers with random weights of 4 bits and a small vocabulary, so that experts are most of what
a token reads. Batches are taken in turns; the bandwidth is measured several times between them.
Bytes are those of the experts that steps really chose, each once, and of all other weights that a
token reads.
"""

import json
import os
import resource
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np

import sala_compile
from benchmarks.bandwidth import BandwidthProbe
from benchmarks.machine import machine_document
from benchmarks.markdown import page, table, write_report
from sala_compile.codegen.compiler import compile_model
from sala_compile.codegen.options import CompileOptions, WeightOrigin
from sala_compile.codegen.progress import Silent
from sala_compile.passes.support.quantization import Quantization
from sala_compile.runtime.artifact import PhaseName
from sala_compile.runtime.artifact.reader import open_artifact
from sala_compile.runtime.devices.cpu.program import CpuProgram
from sala_compile.runtime.devices.device import Hooks, StepSizes
from sala_compile.runtime.plan.weight_reads import weight_bytes

CONFIGS = Path(__file__).parents[1] / "examples" / "configs"
VOCABULARY = 4096
IDS = 2
"""Argument of a kernel of experts that has their numbers."""


class Watched:
    """A program whose steps note which experts each layer's rows have chosen."""

    def __init__(self, program: CpuProgram, steps: Sequence[int]) -> None:
        self.program, self.steps = program, steps
        self.chosen: list[np.ndarray] = []

    @property
    def phases(self) -> frozenset[PhaseName]:
        """Those of the program."""
        return self.program.phases

    def run(self, phase: PhaseName, sizes: StepSizes, hooks: Hooks | None = None) -> None:
        """Run a phase; keep the numbers after each first product of experts."""
        found = {step: list(each) for step, each in (hooks or {}).items()}
        if phase is PhaseName.DECODE:
            for step in self.steps:
                found.setdefault(step, []).append(self._keep(step, sizes.tokens))
        self.program.run(phase, sizes, found)

    def _keep(self, step: int, rows: int) -> Callable[[], None]:
        ids = self.program.calls[PhaseName.DECODE][step][1][IDS]
        return lambda: self.chosen.append(np.array(np.from_dlpack(ids)[:rows]))

    def close(self) -> None:
        """Close the program."""
        self.program.close()


@click.command()
@click.option("--config", default="qwen3-next-80b-a3b", show_default=True)
@click.option("--layers", default=4, show_default=True)
@click.option("--batches", default="1,4,8", show_default=True)
@click.option("--threads", default=len(os.sched_getaffinity(0)), show_default=True)
@click.option("--seconds", default=100.0, show_default=True)
@click.option("--quantize", default="int4-g128", show_default=True)
@click.option("--artifact", type=click.Path(path_type=Path), help="Compiled by an earlier run.")
@click.option("--output", type=click.Path(path_type=Path), help="Write the results as JSON.")
def main(
    config: str,
    layers: int,
    batches: str,
    threads: int,
    seconds: float,
    quantize: str,
    artifact: Path | None,
    output: Path | None,
) -> None:
    """Measure, and print a table."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sala-")))
        path = artifact or folder / "model.sala"
        if not path.exists():
            compile_random(config, layers, quantize, folder, path)
        document = {
            **machine_document(("sala-compile",), threads),
            "config": config,
            "layers": layers,
            "weights": quantize,
            **measure(path, [int(each) for each in batches.split(",")], threads, seconds),
        }
    print(markdown(document))
    if output:
        write_report(output, document, markdown)


def compile_random(config: str, layers: int, quantize: str, folder: Path, path: Path) -> None:
    """Compile some layers of a released config; the loader makes the weights."""
    raw = json.loads((CONFIGS / f"{config}.json").read_text())
    raw |= {"num_hidden_layers": layers, "vocab_size": VOCABULARY, "eos_token_id": 2}
    raw["bos_token_id"] = 1
    file = folder / "config.json"
    file.write_text(json.dumps(raw))
    options = CompileOptions(
        checkpoint=None,
        config_file=file,
        output=path,
        quantization=Quantization(quantize),
        weights=WeightOrigin.RANDOM,
    )
    compile_model(options, Silent())


def measure(path: Path, batches: list[int], threads: int, seconds: float) -> dict[str, Any]:
    """Seconds of a step, experts and bytes, for each batch, in turns."""
    program = open_artifact(path).program
    others, stacks = weight_bytes(program, next(iter(program.targets)))
    probe = BandwidthProbe(threads)
    count = _experts(path)
    rows: dict[int, list[dict[str, float]]] = {batch: [] for batch in batches}
    with sala_compile.load(
        path, context=2048, threads=threads, batch=max(batches), sequences=max(batches)
    ) as model:
        planned = model.plan.total_bytes
        random = np.random.default_rng(0)
        sequences = [model.sequence() for _ in range(max(batches))]
        for sequence in sequences:
            sequence.append(random.integers(3, VOCABULARY, 16).tolist())
        end = time.monotonic() + seconds
        bandwidths: list[float] = []
        while time.monotonic() < end and sequences[0].remaining > 64 * len(batches):
            bandwidths.append(probe.measure())
            for batch in [each for each in batches for _ in range(16)]:
                used = sequences[:batch]
                tokens = random.integers(3, VOCABULARY, batch).tolist()
                start = time.perf_counter()
                model.decode(used, tokens)
                taken = time.perf_counter() - start
                rows[batch].append({"seconds": taken})
        bandwidth = median(bandwidths)
        chosen = {batch: _chosen(model, sequences[:batch], stacks, random) for batch in batches}
    probe.close()
    found = {}
    for batch in batches:
        read = others + sum(
            stacks[step] / count * distinct for step, distinct in chosen[batch].items()
        )
        taken = median(row["seconds"] for row in rows[batch])
        found[str(batch)] = {
            "steps": len(rows[batch]),
            "seconds": taken,
            "tokens_per_second": batch / taken,
            "experts_of_a_layer": float(np.mean(list(chosen[batch].values()))),
            "bytes": read,
            "bandwidth_share": read / taken / bandwidth,
        }
    return {
        "bandwidth": bandwidth,
        "bytes_of_other_weights": others,
        "planned_bytes": planned,
        "resident_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "batches": found,
    }


def _experts(path: Path) -> int:
    """Experts of a layer."""
    kernels = open_artifact(path).manifest.kernels
    return next(int(kernel.spec["experts"]) for kernel in kernels if kernel.family == "experts")


def _chosen(
    model: Any, sequences: list[Any], stacks: Mapping[int, int], random: np.random.Generator
) -> dict[int, float]:
    """Distinct experts of a step for each product, in the mean of some steps."""
    kept: list[Watched] = []
    with model.wrapped(lambda program: kept.append(Watched(program, list(stacks))) or kept[-1]):
        for _ in range(4):
            model.decode(sequences, random.integers(3, VOCABULARY, len(sequences)).tolist())
    every = kept[0].chosen
    steps = list(stacks)
    return {
        step: float(np.mean([len(np.unique(ids)) for ids in every[index :: len(steps)]]))
        for index, step in enumerate(steps)
    }


def markdown(document: dict[str, Any]) -> str:
    """The results for people."""
    rows = [
        (
            batch,
            f"{found['tokens_per_second']:.0f}",
            f"{found['experts_of_a_layer']:.1f}",
            f"{found['bytes'] / 1e6:.0f}",
            f"{found['bytes'] / found['seconds'] / 1e9:.1f}",
            f"{found['bandwidth_share']:.2f}",
        )
        for batch, found in document["batches"].items()
    ]
    head = ("batch", "tokens/s", "experts of a layer", "MB a step", "GB/s", "of the bandwidth")
    planned, resident = (document[name] / 2**30 for name in ("planned_bytes", "resident_bytes"))
    return page(
        f"Experts: {document['layers']} layers of {document['config']}, {document['weights']}",
        document,
        f"Memory was read at {document['bandwidth'] / 1e9:.1f} GB/s. Planned {planned:.2f} GiB, "
        f"most that was resident {resident:.2f} GiB.",
        table(head, rows),
    )


if __name__ == "__main__":
    main()
