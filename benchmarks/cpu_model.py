"""This runtime beside the same model in torch eager, bfloat16, same threads: prefill and decode.

Both sides stay loaded in processes of their own and are asked in turn, so that a change of the
machine's speed meets both. A sample counts only if our threads did not wait for a CPU. Without
--checkpoint the model has random weights: `--layers` layers of the released width.
"""

import json
import os
import platform
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.engines import RuntimeEngine, TorchEngine, Worker
from codegen.cli.compile import command as sala_compile
from runtime.timing import Sample, Summary, summarise
from sala_ir.random_checkpoint import write_random_checkpoint

RELEASED = Path(__file__).parent.parent / "examples" / "released-config.json"
SPARSE, LIGHTNING = "minicpm4", "lightning-attn"


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement of both sides; `tokens` are those of one sample."""

    work: str
    tokens: int
    ours: Summary
    peer: Summary

    @property
    def ratio(self) -> float:
        """How many times faster this runtime is."""
        return self.peer.median / self.ours.median

    def record(self) -> dict[str, Any]:
        """The row as JSON."""
        sides = {
            name: {
                "tokens_per_second": self.tokens / side.median,
                "clean_samples": side.clean,
                "samples": side.total,
            }
            for name, side in (("ours", self.ours), ("torch", self.peer))
        }
        return {"work": self.work, **sides, "ratio": self.ratio}


@dataclass(frozen=True, slots=True)
class Pair:
    """Both sides, asked in turn."""

    ours: Worker
    peer: Worker
    rounds: int

    def prefill(self, token_ids: list[int]) -> Row:
        """Time a whole prompt from an empty sequence."""
        samples: dict[Worker, list[Sample]] = {self.ours: [], self.peer: []}
        for _ in range(self.rounds):
            for worker in (self.ours, self.peer):
                worker.reset()
                samples[worker].append(worker.timed(token_ids))
        return self._row(f"prefill {len(token_ids)}", len(token_ids), samples)

    def decode(self, token_ids: list[int], steps: int) -> Row:
        """Time single tokens behind a prompt."""
        samples: dict[Worker, list[Sample]] = {self.ours: [], self.peer: []}
        for worker in (self.ours, self.peer):
            worker.reset()
            worker.append(token_ids)
        for token in range(steps):
            for worker in (self.ours, self.peer):
                samples[worker].append(worker.timed([token]))
        return self._row(f"decode at {len(token_ids)}", 1, samples)

    def difference(self, token_ids: list[int]) -> tuple[float, float]:
        """Largest difference of the two sides' last logits, and those logits' spread."""
        for worker in (self.ours, self.peer):
            worker.reset()
        ours, peer = (np.array(worker.append(token_ids)) for worker in (self.ours, self.peer))
        return float(np.abs(ours - peer).max()), float(peer.std())

    def _row(self, work: str, tokens: int, samples: dict[Worker, list[Sample]]) -> Row:
        return Row(work, tokens, summarise(samples[self.ours]), summarise(samples[self.peer]))


@click.command()
@click.option("--checkpoint", type=click.Path(path_type=Path), help="Instead of random weights.")
@click.option("--layers", default=8, show_default=True, help="Layers of the random model.")
@click.option("--prompt", "prompts", multiple=True, type=int, default=(512, 2048))
@click.option("--rounds", default=5, show_default=True, help="Samples of each prefill.")
@click.option("--steps", default=24, show_default=True, help="Samples of each decode.")
@click.option("--threads", default=len(os.sched_getaffinity(0)), show_default=True)
@click.option("--work", type=click.Path(path_type=Path), help="Keep checkpoint and artifact here.")
@click.option("--output", type=click.Path(path_type=Path), help="Write the results as JSON.")
def main(
    checkpoint: Path | None,
    layers: int,
    prompts: tuple[int, ...],
    rounds: int,
    steps: int,
    threads: int,
    work: Path | None,
    output: Path | None,
) -> None:
    """Compile a model, time it beside torch eager, and print the ratios."""
    console = Console()
    with ExitStack() as stack:
        folder = work or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sala-")))
        checkpoint = checkpoint or _random_checkpoint(folder / f"random-{layers}", layers, console)
        artifact = folder / f"{checkpoint.name}.sala"
        if not artifact.exists():
            sala_compile([str(checkpoint), "-o", str(artifact)], standalone_mode=False)
        context = max(prompts) + steps
        ours = Worker(partial(RuntimeEngine, artifact, threads, context))
        stack.callback(ours.close)
        peer = Worker(partial(TorchEngine, checkpoint, threads, context))
        stack.callback(peer.close)
        pair = Pair(ours, peer, rounds)
        vocabulary = json.loads((checkpoint / "config.json").read_text())["vocab_size"]
        ids = np.random.default_rng(0).integers(0, vocabulary, max(prompts)).tolist()
        gap, spread = pair.difference(ids[:64])
        rows = [pair.prefill(ids[:length]) for length in prompts]
        rows += [pair.decode(ids[:length], steps) for length in prompts]
    _print(console, rows, gap, spread, threads)
    if output:
        document = _document(checkpoint, rows, gap, spread, threads)
        output.write_text(json.dumps(document, indent=2) + "\n")


def _random_checkpoint(folder: Path, layers: int, console: Console) -> Path:
    """A checkpoint of the released width; every fourth layer is sparse."""
    if (folder / "config.json").exists():
        return folder
    config = json.loads(RELEASED.read_text())
    mixers = [SPARSE if i % 4 == 0 else LIGHTNING for i in range(layers)]
    config |= {"num_hidden_layers": layers, "mixer_types": mixers}
    console.print(f"Writing {layers} random layers of the released width to {folder}")
    return write_random_checkpoint(folder, config)


def _print(console: Console, rows: list[Row], gap: float, spread: float, threads: int) -> None:
    table = Table(title=f"bfloat16, {threads} threads, tokens per second")
    for title in ("work", "this runtime", "torch eager", "ratio", "samples ours", "samples torch"):
        table.add_column(title, justify="left" if title == "work" else "right")
    for row in rows:
        ours, peer = row.tokens / row.ours.median, row.tokens / row.peer.median
        figures = (f"{ours:.2f}", f"{peer:.2f}", f"{row.ratio:.2f}")
        table.add_row(row.work, *figures, str(row.ours), str(row.peer))
    console.print(table)
    console.print(f"Largest difference of the last logits: {gap:.3f} (their spread {spread:.2f})")


def _document(
    checkpoint: Path, rows: list[Row], gap: float, spread: float, threads: int
) -> dict[str, Any]:
    config = json.loads((checkpoint / "config.json").read_text())
    model = [
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return {
        "processor": model[0].split(":")[1].strip() if model else platform.machine(),
        "threads": threads,
        "versions": {name: version(name) for name in ("apache-tvm", "torch", "numpy")},
        "model": {key: config[key] for key in ("num_hidden_layers", "hidden_size", "vocab_size")},
        "logit_difference": gap,
        "logit_spread": spread,
        "rows": [row.record() for row in rows],
    }


if __name__ == "__main__":
    main()
