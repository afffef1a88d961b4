"""Anonymous memory while a checkpoint of the released shapes is quantised.

    python -m benchmarks.quantization_memory --layers 2 --work build/quantization

Writes a random checkpoint of the released widths, heads and vocabulary with fewer layers, and
takes it from the checkpoint to the packed bytes of an artifact: once by plain rounding, once by
GPTQ on a text of `--tokens` token ids, each in a process of its own. Layers pass one at a time, so
the peak is that of any number of them. The bytes are hashed, not kept.
"""

import hashlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import click

from benchmarks.machine import machine_document, machine_line
from sala_compile.codegen.lowering import lower, parse_targets
from sala_compile.codegen.opening import open_source
from sala_compile.codegen.options import CompileOptions, WeightRounding
from sala_compile.codegen.plan import assemble
from sala_compile.codegen.progress import Silent
from sala_compile.codegen.quantization.quantization_report import quantization_info
from sala_compile.codegen.quantization.source import open_weights
from sala_compile.codegen.weights.packing import pieces
from sala_compile.passes.support.quantization import Quantization
from sala_compile.runtime.common.option_types import TOKENS
from sala_compile.sala_ir.checkpoint.random_checkpoint import write_random_checkpoint
from tests.support.process_memory import anonymous_bytes

RELEASED = Path(__file__).parent.parent / "examples" / "released-config.json"
RESULTS = Path(__file__).parent / "results"
LIMITS = {WeightRounding.NEAREST: 4 << 30, WeightRounding.GPTQ: 6 << 30}
"""Bytes that a checkpoint of 19 GB may take."""
PACKAGES = ("sala-compile", "numpy", "ml_dtypes")
INTERVAL = 0.02
GIB = 1 << 30


@click.command()
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/quantization"))
@click.option("--layers", default=2, show_default=True, help="One sparse, the others Lightning.")
@click.option("--tokens", type=TOKENS, default="4K", show_default=True, help="Calibration text.")
@click.option("--quantize", default="int4-g128", show_default=True)
@click.option("--only", type=click.Choice([kind.value for kind in WeightRounding]), hidden=True)
@click.option("--save", is_flag=True, help="Write the table under benchmarks/results.")
def main(work: Path, layers: int, tokens: int, quantize: str, only: str | None, save: bool) -> None:
    """Measure both roundings and print a table."""
    checkpoint = released_checkpoint(work, layers)
    if only is not None:
        json.dump(
            _measured(checkpoint, Quantization(quantize), WeightRounding(only), tokens), sys.stdout
        )
        return
    found = []
    for rounding in (WeightRounding.NEAREST, WeightRounding.GPTQ):
        arguments = [sys.executable, "-m", "benchmarks.quantization_memory", "--only", rounding]
        arguments += ["--work", work, "--layers", layers, "--tokens", tokens]
        arguments += ["--quantize", quantize]
        done = subprocess.run(list(map(str, arguments)), stdout=subprocess.PIPE, check=True)
        found.append(json.loads(done.stdout))
    table = _table(found, layers, quantize)
    print(table)
    if save:
        machine = machine_document(PACKAGES, 0)
        RESULTS.mkdir(exist_ok=True)
        stem = RESULTS / f"{machine['date'][:10]}-quantization-memory"
        document = {"machine": machine, "layers": layers, "runs": found}
        stem.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")
        stem.with_suffix(".md").write_text(table + "\n")


def released_checkpoint(work: Path, layers: int) -> Path:
    """The generated checkpoint, written once."""
    directory = work / f"released-{layers}-layers"
    if not (directory / "written").exists():
        raw = json.loads(RELEASED.read_text())
        kinds = raw["mixer_types"]
        sparse, linear = kinds[0], next(kind for kind in kinds if kind != kinds[0])
        raw |= {
            "num_hidden_layers": layers,
            "mixer_types": [sparse, *[linear] * (layers - 1)],
        }
        write_random_checkpoint(directory, raw, shards=layers + 1)
        (directory / "written").touch()
    return directory


def _measured(
    checkpoint: Path, quantization: Quantization, rounding: WeightRounding, tokens: int
) -> dict[str, Any]:
    """Quantise and pack, and how much memory that took."""
    options = CompileOptions(
        checkpoint=checkpoint,
        output=checkpoint.parent / "quantized.sala",
        quantization=quantization,
        rounding=rounding,
        calibration_tokens=tokens,
        dry_run=True,
    )
    before, began = anonymous_bytes(), time.process_time()
    digest, size = hashlib.sha256(), 0
    with anonymous_peak() as peak, ExitStack() as stack:
        source = open_source(options, stack)
        target = parse_targets(options.targets)["cpu"]
        plan = assemble(source, (lower(source.captured, "cpu", target, options, Silent()),))
        weights = stack.enter_context(open_weights(source, options, Silent()))
        for weight in plan.stored:
            for _, piece in pieces(weight, weights.source, weights.errors.measure):
                digest.update(piece)
                size += piece.nbytes
        info = quantization_info(source, options, weights)
    assert info is not None, "the model is quantised"
    checkpoint_bytes = sum(path.stat().st_size for path in checkpoint.glob("*.safetensors"))
    return {
        "rounding": rounding.value,
        "checkpoint_bytes": checkpoint_bytes,
        "packed_bytes": size,
        "sha256": digest.hexdigest(),
        "processor_seconds": time.process_time() - began,
        "anonymous_before": before,
        "anonymous_peak": max(peak),
        "tokens": 0 if info.calibration is None else info.calibration.tokens,
        "tensors": info.model_dump(mode="json")["tensors"],
    }


@contextmanager
def anonymous_peak() -> Iterator[list[int]]:
    """Samples of the anonymous memory, taken until the block ends."""
    samples, ended = [anonymous_bytes()], threading.Event()

    def watch() -> None:
        while not ended.wait(INTERVAL):
            samples[0] = max(samples[0], anonymous_bytes())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        ended.set()
        thread.join()


def _table(found: list[dict[str, Any]], layers: int, quantize: str) -> str:
    size = found[0]["checkpoint_bytes"] / 1e9
    lines = [
        "# Memory of quantising",
        "",
        f"{quantize}, a generated checkpoint of the released shapes with {layers} layers "
        f"({size:.2f} GB); GPTQ on {found[-1]['tokens']} seeded token ids.",
        "",
        "| rounding | anonymous memory, peak | allowed | processor seconds | "
        "weight error | output error |",
        "|---|---|---|---|---|---|",
    ]
    for run in found:
        errors = [
            _median(entry[kind] for entry in run["tensors"].values() if entry[kind] is not None)
            for kind in ("weight_error", "output_error")
        ]
        limit = LIMITS[WeightRounding(run["rounding"])]
        cells = [
            run["rounding"],
            f"{run['anonymous_peak'] / GIB:.2f} GiB",
            f"{limit / GIB:.0f} GiB",
            f"{run['processor_seconds']:.0f}",
            *errors,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", machine_line(machine_document(PACKAGES, 0)).replace("0 threads; ", "")]
    return "\n".join(lines)


def _median(values: Iterator[float]) -> str:
    """The median of some errors, in per cent; nothing where none are known."""
    known = list(values)
    return f"{median(known):.2%}" if known else ""


if __name__ == "__main__":
    main()
