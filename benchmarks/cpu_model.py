"""This runtime beside the same model in torch, eager and compiled: prefill and decode.

    python -m benchmarks.cpu_model

Every side stays loaded in a process of its own and is asked in turn, so that a change of the
machine's speed meets all. A sample counts only if its threads did not wait for a CPU. Without
--checkpoint the model has random weights: `--layers` layers of the released width. Here it is
compiled in bfloat16 and with each --quantize; torch multiplies in bfloat16, with the same
checkpoint. With --work, a run that was cut short goes on behind the last length that was done.
"""

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
import numpy as np
from rich.console import Console

from benchmarks.cpu_model_report import (
    BF16,
    COMPILED,
    EAGER,
    PEERS,
    Record,
    Row,
    markdown,
)
from benchmarks.engines import CompiledEngine, Engine, RuntimeEngine, TorchEngine, Worker
from benchmarks.machine import machine_document
from benchmarks.markdown import write_report
from benchmarks.paired import times_as_fast
from sala_compile.codegen.cli.compile import command as compile_command
from sala_compile.runtime.common.timing import Sample, summarise
from sala_compile.sala_ir.checkpoint.random_checkpoint import write_random_checkpoint

RELEASED = Path(__file__).parent.parent / "examples" / "released-config.json"
RESULTS = Path(__file__).parent / "results"
SPARSE, LIGHTNING = "minicpm4", "lightning-attn"
PACKAGES = ("sala-compile", "apache-tvm", "apache-tvm-ffi", "torch", "numpy")
DECODED = 4
"""Tokens of a sample of decode, one behind the other, as they are when a model answers."""
SIZES = ("num_hidden_layers", "hidden_size", "vocab_size")


@dataclass(frozen=True, slots=True)
class Sides:
    """Workers by name, asked in turn."""

    workers: Mapping[str, Worker]
    rounds: int
    steps: int

    def measure(self, token_ids: list[int]) -> tuple[list[Row], dict[str, float]]:
        """Time a whole prompt and single tokens behind it; how far the last logits are from eager.

        The difference is relative to the spread of torch eager's, behind the prompt.
        """
        logits = {}
        for name, worker in self.workers.items():
            worker.reset()
            logits[name] = np.array(worker.append(token_ids))
        spread = float(logits[EAGER].std())
        gaps = {
            name: float(np.abs(found - logits[EAGER]).max()) / spread
            for name, found in logits.items()
            if name != EAGER
        }
        length = len(token_ids)
        prefill = self._turns(self.rounds, [token_ids], reset=True)
        for worker in self.workers.values():
            worker.append([3])  # compiles the graph of a step
        decode = self._turns(self.steps, [[3]] * DECODED, reset=False)
        return [
            self._row(f"prefill {length}", length, prefill),
            self._row(f"decode at {length}", DECODED, decode),
        ], gaps

    def _turns(self, count: int, calls: list[list[int]], *, reset: bool) -> dict[str, list[Sample]]:
        samples: dict[str, list[Sample]] = {name: [] for name in self.workers}
        for _ in range(count):
            for name, worker in self.workers.items():
                if reset:
                    worker.reset()
                samples[name].append(worker.timed(calls))
        return samples

    def _row(self, work: str, tokens: int, samples: dict[str, list[Sample]]) -> Row:
        found = {name: summarise(taken) for name, taken in samples.items()}
        sides = {
            name: {
                "tokens_per_second": tokens / each.median,
                "clean_samples": each.clean,
                "samples": each.total,
            }
            for name, each in found.items()
        }
        peers = {name: taken for name, taken in samples.items() if name in PEERS}
        ratios = {
            own: {peer: times_as_fast(taken, other) for peer, other in peers.items()}
            for own, taken in samples.items()
            if own not in PEERS
        }
        return Row(work, sides, ratios)


@click.command(help=__doc__.partition("\n")[0])
@click.option("--checkpoint", type=click.Path(path_type=Path), help="Instead of random weights.")
@click.option("--layers", default=8, show_default=True, help="Layers of the random model.")
@click.option("--quantize", multiple=True, default=("int4-g128",), show_default=True)
@click.option("--compile/--no-compile", "compiled", default=True, help="torch.compile as well.")
@click.option("--prompt", "prompts", multiple=True, type=int, default=(512, 2048))
@click.option("--rounds", default=3, show_default=True, help="Samples of each prefill.")
@click.option("--steps", default=16, show_default=True, help="Samples of each decode.")
@click.option("--threads", default=len(os.sched_getaffinity(0)), show_default=True)
@click.option("--work", type=click.Path(path_type=Path), help="Keep everything here.")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS / "cpu_model.json")
def main(
    checkpoint: Path | None,
    layers: int,
    quantize: tuple[str, ...],
    compiled: bool,
    prompts: tuple[int, ...],
    rounds: int,
    steps: int,
    threads: int,
    work: Path | None,
    output: Path,
) -> None:
    """Compile the model, time it beside torch, write the table and print it."""
    console = Console(stderr=True)
    with ExitStack() as stack:
        folder = work or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sala-")))
        checkpoint = checkpoint or _random_checkpoint(folder / f"random-{layers}", layers, console)
        makers = _sides(checkpoint, folder, quantize, compiled)
        asked = {"sides": list(makers), "threads": threads, "rounds": rounds, "steps": steps}
        asked["decoded"] = DECODED
        record = Record.load(folder / f"{checkpoint.name}-record.json", asked)
        missing = [length for length in prompts if str(length) not in record.lengths]
        context = max(prompts) + steps * DECODED + 1
        workers: dict[str, Worker] = {}
        for name, make in makers.items():
            if missing:
                console.print(f"Loading {name}")
                workers[name] = Worker(partial(make, threads, context))
                stack.callback(workers[name].close)
        config = json.loads((checkpoint / "config.json").read_text())
        ids = np.random.default_rng(0).integers(0, config["vocab_size"], max(prompts)).tolist()
        for length in missing:
            console.print(f"Measuring at {length} tokens")
            rows, gaps = Sides(workers, rounds, steps).measure(ids[:length])
            record.add(length, rows, gaps)
            if COMPILED in workers:
                record.first_calls |= workers[COMPILED].asked("first_calls")
            record.save()
    document = machine_document(PACKAGES, threads) | {"model": {key: config[key] for key in SIZES}}
    write_report(output, document | record.document(prompts), markdown)
    click.echo(output.with_suffix(".md").read_text())


def _sides(
    checkpoint: Path, folder: Path, quantize: tuple[str, ...], compiled: bool
) -> dict[str, Callable[[int, int], Engine]]:
    """What makes each engine, given threads and context; artifacts are compiled if need be."""
    makers: dict[str, Callable[[int, int], Engine]] = {}
    for name in (*quantize, BF16):
        artifact = folder / f"{checkpoint.name}-{name}.sala"
        if not artifact.exists():
            # How values are rounded does not change the time that they take.
            options = [] if name == BF16 else ["--quantize", name, "--rounding", "nearest"]
            compile_command([str(checkpoint), "-o", str(artifact), *options], standalone_mode=False)
        makers[name] = partial(RuntimeEngine, artifact)
    makers[EAGER] = partial(TorchEngine, checkpoint)
    if compiled:
        makers[COMPILED] = partial(CompiledEngine, checkpoint)
    return makers


def _random_checkpoint(folder: Path, layers: int, console: Console) -> Path:
    """A checkpoint of the released width; every fourth layer is sparse."""
    if (folder / "config.json").exists():
        return folder
    config = json.loads(RELEASED.read_text())
    mixers = [SPARSE if i % 4 == 0 else LIGHTNING for i in range(layers)]
    config |= {"num_hidden_layers": layers, "mixer_types": mixers}
    console.print(f"Writing {layers} random layers of the released width to {folder}")
    return write_random_checkpoint(folder, config)


if __name__ == "__main__":
    main()
