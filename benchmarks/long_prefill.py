"""What each stage of reading a long prompt costs, from 4K to 1M tokens, and decode after them.

    python -m benchmarks.long_prefill [--until 1M] [--layers 4] [--output FILE.json]

The released shape with few layers, the first of each four sparse, 4-bit weights from a seed. For
each length a state file of random keys, values and states takes the place of the prefill before
it; then one chunk is read in a call of that length, every kernel call timed, and put back. A stage
is the kernels of one family, within one layer of each kind. Its limit is the longer of its bytes at
the bandwidth and its operations at the peak, both measured in the same run; what a sparse layer
scores are the compressed keys so far, what it attends to the blocks of its budget. What is chosen
is random, so that neighbouring queries share fewer blocks than those of a text.

Every length is kept in --work as soon as it was measured: called again, a run continues.
"""

import json
import time
from collections import defaultdict
from math import inf
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
from rich.console import Console

import sala_compile
from benchmarks.machine import machine_document
from benchmarks.markdown import Document, page, table, write_report
from benchmarks.models.row_record import RowRecord
from benchmarks.random_state import write_random_state
from sala_compile.codegen.cli.compile import command as compile_command
from sala_compile.runtime.artifact import PhaseName
from sala_compile.runtime.bench.ceiling_probe import CeilingProbe, Ceilings
from sala_compile.runtime.bench.costs import CostModel, Live
from sala_compile.runtime.bench.recording import Recording, Turn
from sala_compile.runtime.common.option_types import TOKENS
from sala_compile.runtime.common.threads import available_cpus
from sala_compile.runtime.common.timing import Stopwatch
from sala_compile.runtime.model import Model
from sala_compile.runtime.sequence import TokenSequence

RELEASED = Path(__file__).parent.parent / "examples" / "released-config.json"
RESULTS = Path(__file__).parent / "results"
PACKAGES = ("sala-compile", "apache-tvm", "apache-tvm-ffi", "numpy")
LENGTHS = (4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20)
CHUNK = 512
"""New tokens of a step: the compiler's default."""
DECODED = 24
"""Samples of decode."""
VOCABULARY = 4096


@click.command(help=__doc__.partition("\n")[0])
@click.option("--until", type=TOKENS, default="1M", show_default=True)
@click.option("--layers", default=4, show_default=True)
@click.option("--rounds", default=3, show_default=True, help="Chunks of each length.")
@click.option(
    "--stop-after", type=float, default=inf, metavar="SECONDS", help="Begin no length after."
)
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/long-prefill"))
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS / "long_prefill.json")
def main(until: int, layers: int, rounds: int, stop_after: float, work: Path, output: Path) -> None:
    """Measure the lengths that are missing, write and print the table."""
    console, end = Console(stderr=True), time.monotonic() + stop_after
    artifact = _artifact(work, layers)
    machine = machine_document(PACKAGES, available_cpus())
    asked = {"layers": layers, "chunk": CHUNK, "processor": machine["processor"]}
    record = RowRecord(work / "record.json", asked)
    for length in (each for each in LENGTHS if each <= until):
        if not record.has("lengths", str(length)) and time.monotonic() < end:
            record.add("lengths", str(length), _measured(artifact, length, rounds))
            console.print(f"{length} tokens measured")
    document = {**machine, **record.document}
    write_report(output, document, markdown)
    print(markdown(document))


def _artifact(work: Path, layers: int) -> Path:
    """The model, made where it is not there yet."""
    path = work / f"model-{layers}.sala"
    if not path.exists():
        work.mkdir(parents=True, exist_ok=True)
        raw = json.loads(RELEASED.read_text())
        raw |= {"num_hidden_layers": layers, "vocab_size": VOCABULARY, "eos_token_id": [2]}
        raw["mixer_types"] = ["lightning-attn" if i % 4 else "minicpm4" for i in range(layers)]
        config = work / f"config-{layers}.json"
        config.write_text(json.dumps(raw))
        arguments = ["--config", str(config), "--weights", "random", "--quantize", "int4-g128"]
        compile_command.main(
            [*arguments, "--chunk", str(CHUNK), "-o", str(path)], standalone_mode=False
        )
    return path


def _measured(artifact: Path, length: int, rounds: int) -> dict[str, Any]:
    """One chunk at the end of a prompt of `length` tokens, and single tokens after it."""
    history = length - CHUNK
    with (
        TemporaryDirectory(prefix="sala-state-") as folder,
        sala_compile.load(artifact, context=length + DECODED, chunk=CHUNK, snapshots=1) as model,
    ):
        write_random_state(artifact, Path(folder) / "state", history)
        probe = CeilingProbe(model.artifact, model.info()["target"], available_cpus())
        costs = CostModel(model.artifact, model.info()["target"])
        with model.restore(Path(folder) / "state") as sequence:
            sequence.snapshot()
            turns, waited = _read(model, sequence, length, rounds, probe)
            steps, decode_waited = _decode(sequence)
        ceilings = probe.result()
        return {
            "stages": _stages(model, turns, costs, ceilings, length),
            "seconds": median(turn.sample.seconds for turn in turns),
            "waited": waited,
            "decode_seconds": median(steps),
            "decode_waited": decode_waited,
            "bandwidth": ceilings.bandwidth,
            "peak": ceilings.peak,
        }


def _read(
    model: Model, sequence: TokenSequence, length: int, rounds: int, probe: CeilingProbe
) -> tuple[list[Turn], float]:
    """Steps that read the last chunk, and the largest part of one that waited for a CPU."""
    random = np.random.default_rng(length)
    recording = Recording()
    waited = 0.0
    with model.wrapped(recording.wrap):
        for _ in range(rounds + 1):  # the first one brings pages and code
            ids = random.integers(3, VOCABULARY, CHUNK)
            watch = Stopwatch()
            began = watch.began
            sequence.append(ids)
            taken = watch.lap()
            recording.finish(Live(1, CHUNK, length - CHUNK, length), began, taken)
            waited = max(waited, taken.waited)
            sequence.truncate(length - CHUNK)
            probe.measure(1)
    return recording.turns[1:], waited


def _decode(sequence: TokenSequence) -> tuple[list[float], float]:
    """Seconds of single tokens, and the median part of them that waited for a CPU."""
    sequence.append([5], generated=True)
    seconds: list[float] = []
    waited: list[float] = []
    watch = Stopwatch()
    for number in range(DECODED):
        watch.lap()
        sequence.append([3 + number], generated=True)
        taken = watch.lap()
        seconds.append(taken.seconds)
        waited.append(taken.waited)
    return seconds, median(waited)


def _stages(
    model: Model, turns: list[Turn], costs: CostModel, ceilings: Ceilings, length: int
) -> dict[str, dict[str, float]]:
    """Seconds, bytes and operations of the kernels of each family in a chunk."""
    phases = model.artifact.program.targets[model.info()["target"]].phases
    live = Live(1, CHUNK, length - CHUNK, length)
    found: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for phase in (PhaseName.PREFILL, PhaseName.LOGITS):
        every = costs.steps(phase, live)
        for index, (step, cost) in enumerate(zip(phases[phase].steps, every, strict=True)):
            taken = [
                call.end - call.begin
                for turn in turns
                for call in turn.calls
                if (call.phase, call.step) == (phase, index)
            ]
            if not taken:
                continue
            stage = found[step.family]
            stage["seconds"] += median(taken)
            stage["bytes"] += cost.bytes
            stage["operations"] += cost.operations
            stage["limit"] += max(cost.bytes / ceilings.bandwidth, cost.operations / ceilings.peak)
    return {name: dict(stage) for name, stage in found.items()}


def markdown(document: Document) -> str:
    """The page: seconds and fractions of the limit by stage and length, then decode."""
    rows = document["rows"].get("lengths", {})
    lengths = list(rows)
    names: dict[str, float] = defaultdict(float)
    for row in rows.values():
        for name, stage in row["stages"].items():
            names[name] = max(names[name], stage["seconds"] / row["seconds"])
    shown = [name for name in sorted(names, key=lambda name: -names[name]) if names[name] > 0.01]
    head = ["stage", *(f"{int(length) >> 10}K" for length in lengths)]
    stages = [[name, *(_stage(rows[length], name) for length in lengths)] for name in shown]
    whole = ["whole chunk, ms", *(f"{rows[x]['seconds'] * 1e3:.0f}" for x in lengths)]
    waited = ["waited for a CPU", *(f"{rows[x]['waited']:.0%}" for x in lengths)]
    base = rows.get(str(LENGTHS[1]), {}).get("decode_seconds")
    ratios = [f"{rows[x]['decode_seconds'] / base:.2f}" if base else "" for x in lengths]
    decode = [
        ["times 16K", *ratios],
        ["waited for a CPU", *(f"{rows[x]['decode_waited']:.0%}" for x in lengths)],
    ]
    asked = document["asked"]
    return page(
        "Reading long prompts, stage by stage",
        document,
        f"{asked['layers']} layers of the released shape (the first of each four is sparse), "
        f"int4-g128 from a seed, vocabulary {VOCABULARY}; a chunk of {asked['chunk']} tokens at "
        "the end of a prompt of each length, after random numbers. In each cell: milliseconds, "
        "and the part of them that the limit takes, the longer of bytes at the measured bandwidth "
        "and operations at the measured peak of the best instruction; made by "
        "`python -m benchmarks.long_prefill`.",
        table(head, [*stages, whole, waited], texts=1),
        "One token after the prompt:",
        table(["decode", *head[1:]], decode, texts=1),
    )


def _stage(row: dict[str, Any], name: str) -> str:
    stage = row["stages"].get(name)
    if stage is None:
        return ""
    part = stage["limit"] / stage["seconds"]
    return (
        f"{stage['seconds'] * 1e3:.1f} ({part:.2f})"
        if stage["operations"]
        else (f"{stage['seconds'] * 1e3:.1f}")
    )


if __name__ == "__main__":
    main()
