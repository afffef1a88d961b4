"""Long contexts on the CPU: prefill speed, decode time and memory from 4K up to 1M tokens.

    python -m benchmarks.long_context --work build/long --until 1M

A small model of the released structure: the width, heads and sparse sizes of the released layers,
one sparse layer among three linear ones, fewer layers, a smaller vocabulary and feed-forward.
Random weights; the tokens are random too. Whatever was computed is kept in --work: called again,
the prefill goes on from the last saved state. Decoding is timed behind all lengths in turn, from
states that the prefill left; beside it stands the time that reading the added compressed keys
takes at the bandwidth that was measured with it.

On a machine with other work, `chrt -f 1` in front keeps that off the CPUs during the samples.

--filled times decoding over caches of random numbers, which take seconds and not the hours of a
prefill; such rows stand in a table of their own, and --until may then be short.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from shutil import copyfile
from typing import Any

import click
import numpy as np
from rich.console import Console

import sala_compile
from benchmarks.bandwidth import BandwidthProbe
from benchmarks.long_decode import DecodeTimer
from benchmarks.long_report import markdown, with_derived
from benchmarks.machine import machine_document
from benchmarks.markdown import write_report
from sala_compile.codegen.cli.compile import command as compile_command
from sala_compile.runtime.common.option_types import TOKENS
from sala_compile.runtime.common.timing import sample, summarise
from sala_compile.sala_ir.checkpoint.random_checkpoint import write_random_checkpoint
from tests.support.process_memory import anonymous_bytes

RELEASED = Path(__file__).parent.parent / "examples" / "released-config.json"
RESULTS = Path(__file__).parent / "results"
SPARSE, LIGHTNING = "minicpm4", "lightning-attn"
POINTS = (4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20)
"""Lengths at which decoding is timed."""
BATCHES = (1, 2, 4, 8)
PACKAGES = ("sala-compile", "apache-tvm", "apache-tvm-ffi", "numpy")


@dataclass(slots=True)
class Record:
    """What is known so far; kept as JSON beside the state, so that a run can go on."""

    model: dict[str, Any]
    tokens: int = 0
    segments: list[dict[str, float]] = field(default_factory=list)
    points: list[dict[str, float]] = field(default_factory=list)
    filled: list[dict[str, float]] = field(default_factory=list)
    batches: list[dict[str, float]] = field(default_factory=list)
    memory: dict[str, float] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path, model: dict[str, Any]) -> "Record":
        """The record in a file of the same model, else a new one."""
        if path.exists():
            found = cls(**json.loads(path.read_text()))
            if found.model == model:
                return found
        return cls(model)

    def save(self, path: Path) -> None:
        """Write it whole or not at all."""
        draft = path.with_suffix(".tmp")
        draft.write_text(json.dumps(asdict(self), indent=1))
        os.replace(draft, path)


@click.command()
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/long-context"))
@click.option("--until", type=TOKENS, default="1M", show_default=True, help="Longest context.")
@click.option("--filled", type=TOKENS, help="Time decoding over random caches up to this length.")
@click.option("--layers", default=4, show_default=True, help="The first of each four is sparse.")
@click.option("--intermediate", default=1024, show_default=True, help="Feed-forward width.")
@click.option("--vocabulary", default=4096, show_default=True)
@click.option("--chunk", type=TOKENS, default="1K", show_default=True, help="Prefill chunk.")
@click.option("--keep-every", type=TOKENS, default="32K", show_default=True, help="Save so often.")
@click.option("--steps", default=16, show_default=True, help="Samples of each decode.")
@click.option("--threads", default=len(os.sched_getaffinity(0)), show_default=True)
@click.option("--batches/--no-batches", default=True, help="Time batches of sequences too.")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS / "long_context.json")
def main(
    work: Path,
    until: int,
    filled: int | None,
    layers: int,
    intermediate: int,
    vocabulary: int,
    chunk: int,
    keep_every: int,
    steps: int,
    threads: int,
    batches: bool,
    output: Path,
) -> None:
    """Prefill a text, time decoding on the way, and write the tables."""
    console = Console()
    sizes = {"layers": layers, "intermediate": intermediate, "vocabulary": vocabulary}
    artifact = _artifact(work, sizes, console)
    record = Record.load(work / "record.json", sizes | {"chunk": chunk, "threads": threads})
    probe = BandwidthProbe(threads)
    try:
        timer = DecodeTimer(artifact, probe, console, steps, threads)
        if batches and not record.batches:
            record.batches = _time_batches(artifact, threads, steps, console)
            record.save(work / "record.json")
        if filled:
            record.filled = timer.time_filled(work, _points(filled))
            record.save(work / "record.json")
        text = _LongText(work, record, timer)
        text.read(until, chunk, keep_every)
        text.time_decoding(until)
    finally:
        probe.close()
    document = machine_document(PACKAGES, threads) | asdict(record)
    write_report(output, with_derived(document), markdown)
    click.echo(output.with_suffix(".md").read_text())


def _artifact(work: Path, sizes: dict[str, int], console: Console) -> Path:
    """The compiled model, made where it is not there yet."""
    name = "-".join(str(size) for size in sizes.values())
    artifact = work / f"model-{name}.sala"
    if not artifact.exists():
        checkpoint = work / f"model-{name}"
        raw = json.loads(RELEASED.read_text())
        mixers = [LIGHTNING if i % 4 else SPARSE for i in range(sizes["layers"])]
        raw |= {"num_hidden_layers": sizes["layers"], "mixer_types": mixers}
        raw |= {"intermediate_size": sizes["intermediate"], "vocab_size": sizes["vocabulary"]}
        raw |= {"eos_token_id": [2]}
        console.print(f"Writing and compiling {sizes['layers']} random layers in {work}")
        write_random_checkpoint(checkpoint, raw)
        compile_command([str(checkpoint), "-o", str(artifact)], standalone_mode=False)
    return artifact


def _text(length: int, vocabulary: int) -> np.ndarray:
    return np.random.default_rng(0).integers(3, vocabulary, length).astype(np.int32)


@dataclass(slots=True)
class _LongText:
    """One text that grows to the longest point."""

    work: Path
    record: Record
    timer: DecodeTimer

    def read(self, until: int, chunk: int, keep_every: int) -> None:
        """Prefill piece by piece, from the saved state if there is one; keep states at points."""
        points, threads = _points(until), self.timer.threads
        with sala_compile.load(self.timer.artifact, context=64, chunk=64, threads=threads) as small:
            small.logits([3])  # so that libraries and threads are there before memory is measured
        before = anonymous_bytes()
        with sala_compile.load(
            self.timer.artifact,
            context=points[-1],
            chunk=min(chunk, points[-1]),
            threads=threads,
        ) as model:
            planned = model.info()["memory"]
            ids = _text(points[-1], model.vocabulary)
            with self._sequence(model) as text:
                for stop in _stops(len(text), points, keep_every):
                    self._grow(text, ids[len(text) : stop])
                    self._note_memory(planned, anonymous_bytes() - before)
                    text.save(self.work / "text.sala-state")
                    self.record.save(self.work / "record.json")
                    if stop in points:
                        copyfile(self.work / "text.sala-state", self._state(stop))

    def time_decoding(self, until: int) -> None:
        """Time single tokens behind the kept states."""
        states = {point: self._state(point) for point in _points(until)}
        missing = [str(path) for path in states.values() if not path.exists()]
        if missing:
            raise SystemExit(f"missing {', '.join(missing)}: remove record.json to read again")
        self.record.points = self.timer.time_states(states)
        self.record.save(self.work / "record.json")

    def _state(self, tokens: int) -> Path:
        return self.work / f"text-{tokens}.sala-state"

    @contextmanager
    def _sequence(self, model: Any) -> Iterator[Any]:
        """The saved text, or an empty one where nothing fits the record."""
        path = self.work / "text.sala-state"
        resumed = path.exists() and self.record.tokens > 0
        with model.restore(path) if resumed else model.sequence() as text:
            if len(text) != self.record.tokens:
                raise SystemExit(
                    f"{path} has {len(text)} tokens, record.json {self.record.tokens}: remove both"
                )
            if resumed:
                self.timer.console.print(f"Going on from {len(text)} tokens")
            yield text

    def _grow(self, text: Any, ids: np.ndarray) -> None:
        """Append a piece and note how long it took."""
        if not len(ids):
            return
        found = sample(lambda: text.append(ids))
        self.record.segments.append(
            {
                "tokens": len(ids),
                "until": len(text),
                "seconds": found.seconds,
                "waited": found.waited,
            }
        )
        self.record.tokens = len(text)
        speed = len(ids) / found.seconds
        self.timer.console.print(
            f"{len(text):>8} tokens  {speed:8.1f} tokens/s  waited for a CPU {found.waited:.0%}"
        )

    def _note_memory(self, planned: dict[str, Any], held: int) -> None:
        """The largest anonymous memory beyond what the process held before loading."""
        known = self.record.memory.get("largest_held_bytes", 0)
        self.record.memory = {
            "planned_anonymous_bytes": planned["anonymous_bytes"],
            "planned_total_bytes": planned["total_bytes"],
            "largest_held_bytes": max(known, held),
            **{f"{name}_bytes": size for name, size in planned["parts"].items()},
        }


def _points(until: int) -> list[int]:
    """The lengths up to `until` at which decoding is timed."""
    return sorted({point for point in POINTS if point <= until} | {until})


def _stops(length: int, points: list[int], keep_every: int) -> list[int]:
    """Lengths at which the prefill pauses: the points, and regular ones to save at."""
    last = points[-1]
    regular = range(keep_every, last, keep_every)
    return sorted(stop for stop in {*points, *regular} if stop >= max(length, 1))


def _time_batches(
    artifact: Path, threads: int, steps: int, console: Console
) -> list[dict[str, float]]:
    """Decode 1 to 8 sequences of unequal lengths in one pass, and the same one by one."""
    most, unequal = max(BATCHES), 96
    rows = []
    with sala_compile.load(
        artifact, context=4096, batch=most, sequences=most, threads=threads
    ) as model:
        ids = _text(most * unequal, model.vocabulary)
        texts = [model.sequence()]
        texts[0].append(ids[:unequal])
        for index in range(1, most):
            texts.append(texts[-1].fork())
            texts[-1].append(ids[index * unequal : (index + 1) * unequal - index])
        for count in BATCHES:
            chosen = texts[:count]
            together, alone = [], []
            for token in range(3, 3 + steps):
                together.append(sample(partial(model.decode, chosen, [token] * count)))
                alone.append(sample(partial(_one_by_one, chosen, token)))
            batch, single = summarise(together), summarise(alone)
            rows.append(
                {
                    "batch": count,
                    "lengths": [len(text) for text in chosen],
                    "together_seconds": batch.median,
                    "one_by_one_seconds": single.median,
                    "clean_samples": batch.clean + single.clean,
                    "samples": batch.total + single.total,
                }
            )
            console.print(f"batch {count}: {single.median / batch.median:.2f} times one by one")
    return rows


def _one_by_one(texts: list[Any], token: int) -> None:
    for text in texts:
        text.append([token])


if __name__ == "__main__":
    main()
