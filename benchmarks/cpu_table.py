"""The released shape on this machine: threads, contexts and batches, beside the ceilings.

    python -m benchmarks.cpu_table

Random weights, int4-g128 by default. A prefill of 64K tokens would take hours on a small machine,
so contexts are filled with random keys, values and states (`benchmarks.random_state`); prefill is
a chunk of 512 tokens behind such a context. Sequences of a batch have unequal lengths and pages of
their own. Every sample stands between samples of the ceilings. What was measured is kept in
--work: called again, the run goes on with what is missing.
"""

import json
import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console

import sala_compile
from benchmarks.cpu_table_report import markdown
from benchmarks.machine import machine_document
from benchmarks.markdown import write_report
from benchmarks.paired import Paired, paired
from benchmarks.random_state import write_random_state
from sala_compile.codegen.cli.compile import command as compile_command
from sala_compile.runtime.artifact.ceilings import Ceiling
from sala_compile.runtime.artifact.replace import write_whole
from sala_compile.runtime.bench.ceiling_probe import CeilingProbe
from sala_compile.runtime.bench.costs import Cost, CostModel, Live
from sala_compile.runtime.bench.measure import Bench, Row
from sala_compile.runtime.cli.bench_report import bench_document
from sala_compile.runtime.common.option_types import TOKENS, Several
from sala_compile.runtime.devices.choose_target import choose_target

RELEASED = Path(__file__).parent.parent / "examples" / "released-config.json"
RESULTS = Path(__file__).parent / "results"
PACKAGES = ("sala-compile", "apache-tvm", "apache-tvm-ffi", "numpy")
CHUNK = 512
"""Tokens of a prefill."""
SHORTER = 37
"""Tokens that each sequence of a batch is shorter than the one before it."""
PATIENCE = 3
"""Times as many samples of a decode as are wanted, where the machine is not ours meanwhile."""
COUNT = click.IntRange(min=1)


@dataclass(frozen=True, slots=True)
class Table:
    """What is measured at every context: batches of a decode step, and samples of each."""

    batches: tuple[int, ...]
    steps: int
    passes: int

    def margin(self) -> int:
        """Tokens that are added behind a context."""
        return (PATIENCE * self.steps + 1) * len(self.batches) + CHUNK


@click.command(help=__doc__.partition("\n")[0])
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/cpu-table"))
@click.option("--layers", type=COUNT, help="Only the first layers.  [default: all]")
@click.option("--quantize", default="int4-g128", show_default=True)
@click.option("--threads", type=Several(COUNT), help="[default: 1 and all CPUs]")
@click.option("--contexts", type=Several(TOKENS), default="1K,4K,16K,64K", show_default=True)
@click.option("--batches", type=Several(COUNT), default="1,2,4,8", show_default=True)
@click.option("--steps", default=10, show_default=True, help="Samples of each decode that count.")
@click.option("--passes", default=2, show_default=True, help="Samples of each prefill.")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS / "cpu_table.json")
def main(
    work: Path,
    layers: int | None,
    quantize: str,
    threads: tuple[int, ...] | None,
    contexts: tuple[int, ...],
    batches: tuple[int, ...],
    steps: int,
    passes: int,
    output: Path,
) -> None:
    """Measure what the record does not have yet, and write the tables."""
    console = Console(stderr=True)
    threads = threads or tuple(sorted({1, len(os.sched_getaffinity(0))}))
    artifact = _artifact(work, layers, quantize, console)
    wanted = Table(batches, steps, min(passes, max(batches)))
    record = work / f"{artifact.stem}-{'-'.join(map(str, (*batches, steps, passes)))}.json"
    runs: list[dict[str, Any]] = json.loads(record.read_text()) if record.exists() else []
    for count in threads:
        done = {run["context"] for run in runs if run["threads"] == count}
        missing = [context for context in contexts if context not in done]
        if not missing:
            continue
        console.print(f"{count} threads: making the weights")
        with sala_compile.load(
            artifact,
            context=max(missing) + wanted.margin(),
            batch=max(batches),
            threads=count,
            chunk=CHUNK,
        ) as model:
            for context in missing:
                run = {"context": context} | _measure(model, context, wanted, work, console)
                runs.append(run)
                write_whole(record, json.dumps(runs).encode())
    shown = [run for run in runs if run["threads"] in threads and run["context"] in contexts]
    shown.sort(key=lambda run: (run["threads"], run["context"]))
    document = machine_document(PACKAGES, max(threads)) | {"quantize": quantize, "runs": shown}
    document["layers"] = layers or len(json.loads(RELEASED.read_text())["mixer_types"])
    write_report(output, document, markdown)
    click.echo(output.with_suffix(".md").read_text())


def _artifact(work: Path, layers: int | None, quantize: str, console: Console) -> Path:
    """The compiled shape, made where it is not there yet."""
    raw = json.loads(RELEASED.read_text())
    if layers:
        raw |= {"num_hidden_layers": layers, "mixer_types": raw["mixer_types"][:layers]}
    artifact = work / f"released-{len(raw['mixer_types'])}-{quantize}.sala"
    if not artifact.exists():
        config = artifact.with_suffix(".config.json")
        work.mkdir(parents=True, exist_ok=True)
        config.write_text(json.dumps(raw))
        console.print(f"Compiling {len(raw['mixer_types'])} layers in {work}")
        given = ["--config", str(config), "--weights", "random", "--quantize", quantize]
        compile_command([*given, "-o", str(artifact)], standalone_mode=False)
    return artifact


def _measure(
    model: sala_compile.Model, context: int, wanted: Table, work: Path, console: Console
) -> dict[str, Any]:
    """Everything at one context, the ceilings before and after it."""
    target, threads = choose_target(model.artifact, None), model.info()["threads"]
    probe = CeilingProbe(model.artifact, target, threads)
    bench = Bench(model, target, probe, CostModel(model.artifact, target))
    with ExitStack() as stack:
        texts = []
        for index in range(max(wanted.batches)):
            path = work / "random.sala-state"
            write_random_state(model.artifact.directory, path, context - SHORTER * index)
            texts.append(stack.enter_context(model.restore(path)))
            path.unlink()
        model.decode(texts, [3] * len(texts))
        probe.measure()
        reached = []
        for batch in wanted.batches:
            reached.append(_decode(bench, texts[:batch], context, wanted.steps))
            console.print(_told(bench.rows[-1], reached[-1], threads), soft_wrap=True)
        reached.append(_prefill(bench, texts[: wanted.passes], context))
        console.print(_told(bench.rows[-1], reached[-1], threads), soft_wrap=True)
        probe.measure()
    document = bench_document(bench)
    for row, parts in zip(document["rows"], reached, strict=True):
        row["reached"] = parts
    return document | {"artifact": Path(document["artifact"]).name}


def _decode(bench: Bench, texts: list[Any], context: int, steps: int) -> dict[str, float]:
    """Single tokens behind texts, all in one pass, beside reading memory."""
    batch = len(texts)
    middle = sum(len(text) for text in texts) // batch + steps // 2
    works = [
        lambda step=step: bench.model.decode(texts, [step + 3] * batch)
        for step in range(PATIENCE * steps)
    ]
    cost = bench.costs.total(Live(batch, 1, middle, middle + 1))
    found = paired(bench.probe, works, {Ceiling.READ: cost.bytes}, steps)
    bench.rows.append(_row("decode", context, batch, batch, found, cost))
    return _named(found.reached)


def _prefill(bench: Bench, texts: list[Any], context: int) -> dict[str, float]:
    """A chunk behind each of the texts, one at a time, beside every kind of arithmetic."""
    ids = np.random.default_rng(0).integers(3, bench.model.vocabulary, CHUNK).astype(np.int32)
    length = sum(len(text) for text in texts) // len(texts)
    works = [lambda text=text: text.append(ids) for text in texts]
    cost = bench.costs.total(Live(1, CHUNK, length, length + CHUNK))
    amounts = dict.fromkeys(bench.probe.kinds, float(cost.operations))
    found = paired(bench.probe, works, amounts, len(works))
    bench.rows.append(_row("prefill", context, 1, CHUNK, found, cost))
    return _named(found.reached)


def _row(work: str, context: int, batch: int, tokens: int, found: Paired, cost: Cost) -> Row:
    return Row(work, context, batch, tokens, found.seconds, cost, found.counted, found.total)


def _named(reached: dict[Ceiling, float]) -> dict[str, float]:
    return {kind.name.lower(): part for kind, part in reached.items()}


def _told(row: Row, reached: dict[str, float], threads: int) -> str:
    parts = ", ".join(f"{part:.2f} of {kind}" for kind, part in reached.items())
    return (
        f"{threads} threads, {row.work} at {row.length}, batch {row.batch}: "
        f"{row.rate:.2f} tokens/s, {parts}, {row.clean}/{row.total} clean"
    )


if __name__ == "__main__":
    main()
