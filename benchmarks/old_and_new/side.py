"""One of two trees of this project, asked by lines of JSON: compiles, computes, takes samples.

Started by path with the tree as PYTHONPATH, so it imports the packages of that tree, whatever its
age, and nothing else of this repository: only what every commit has.
"""

import hashlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

WRITERS = ("sala_ir.checkpoint.random_checkpoint", "sala_ir.random_checkpoint")
"""Where the writer of random checkpoints is, in newer trees and in older ones."""


def package(*names: str) -> ModuleType:
    """The first of some modules that the tree has; SystemExit if it is not the tree's."""
    tree = Path(os.environ["PYTHONPATH"])
    prefix = "sala_compile." if (tree / "sala_compile").is_dir() else ""
    for name in names:
        try:
            module = import_module(prefix + name)
        except ModuleNotFoundError:
            continue
        home = Path(module.__file__ or "")
        if not home.is_relative_to(tree):
            raise SystemExit(f"{name} came from {home}, expected one of {tree}")
        return module
    raise SystemExit(f"{tree} has none of {', '.join(names)}")


def write_checkpoint(folder: str, config: dict[str, Any]) -> None:
    """Write a random checkpoint."""
    package(*WRITERS).write_random_checkpoint(Path(folder), config)


def compile_artifact(arguments: list[str]) -> str:
    """Run sala-compile; the hash of the weights that it wrote."""
    package("codegen.cli.compile").command(arguments, standalone_mode=False)
    artifact = Path(arguments[arguments.index("-o") + 1])
    digest = hashlib.sha256()
    for file in sorted(artifact.glob("weights-*")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def load(artifact: str, options: dict[str, Any]) -> Any:
    """Load an artifact."""
    return package("runtime.loading").load(artifact, **options)


def compute(artifact: str, dense_below: int, kinds: list[str], output: str) -> None:
    """Write what an artifact's model computes: arrays by case."""
    found = dict(Cases(artifact, dense_below, kinds).all())
    np.savez(output, **found)


class Cases:
    """The calls that are compared. A name that begins with "~" is equal up to rounding.

    All others are equal to the bit: their calls begin at multiples of 64 tokens, leave no
    single token over, or decode.
    """

    def __init__(self, artifact: str, dense_below: int, kinds: list[str]) -> None:
        """Of a compiled model that is dense for calls of less than some tokens.

        `kinds` are what of its layers is observed.
        """
        self._artifact = artifact
        self._dense, self._kinds = dense_below, kinds
        self._options = {"context": 1024, "threads": 1, "chunk": 128}
        self._model = load(artifact, self._options | {"batch": 4, "sequences": 6, "snapshots": 2})
        random = np.random.default_rng(len(Path(artifact).stem))
        self._text = random.integers(3, self._model.vocabulary, 1024).tolist()
        self._folder = Path(artifact).parent

    def all(self) -> Iterator[tuple[str, np.ndarray]]:
        """Every case with what it gives."""
        yield from self._prefill()
        yield from self._appends()
        yield from self._decode()
        yield from self._branches()
        yield from self._answers()
        yield from self._other_cuts()
        self._model.close()
        yield from self._reuse()

    def _prefill(self) -> Iterator[tuple[str, np.ndarray]]:
        for length in (3, 40, 64, 200, 448, 700):
            text = self._text[:length]
            whole, seen = self._model.logits(text, observe=self._kinds)
            yield f"prefill {length}", whole
            for kind in self._kinds:
                yield f"{kind.replace('_', ' ')} of prefill {length}", _flat(seen[kind])
            yield f"prefill {length} in chunks of 64", self._model.logits(text, chunk=64)

    def _appends(self) -> Iterator[tuple[str, np.ndarray]]:
        for cuts in ((64, 192, 292), (128, 576, 640), (0, 256, 321)):
            with self._model.sequence() as sequence:
                rows = []
                for begin, end in zip((0, *cuts), cuts, strict=False):
                    if begin < end:
                        rows.append(sequence.append(self._text[begin:end]).copy())
                yield f"append up to {cuts}", np.stack(rows)
                yield f"decode after {cuts}", self._steps([sequence], cuts[-1], 5)

    def _decode(self) -> Iterator[tuple[str, np.ndarray]]:
        border = max(self._dense, 8)
        for lengths in ((40, 200, 448, 900), (border - 3, 64), (border + 6, 3, border - 2)):
            sequences = [self._model.sequence() for _ in lengths]
            for sequence, length in zip(sequences, lengths, strict=True):
                sequence.append(self._text[:length])
            yield f"decode a batch of {lengths}", self._steps(sequences, 100, 6)
            for sequence in sequences:
                sequence.close()

    def _branches(self) -> Iterator[tuple[str, np.ndarray]]:
        path = self._folder / "case.sala-state"
        with self._model.sequence() as first:
            first.append(self._text[:192])
            with first.fork() as second:
                yield "decode after a fork", self._steps([first, second], 200, 4)
                first.save(path)
                yield "decode of the other", self._steps([second], 300, 3)
            with self._model.restore(path) as third:
                yield "logits of a saved state", third.last_logits
                yield "decode after restore", self._steps([third], 210, 4)
            path.unlink()
        with self._model.sequence() as sequence:
            sequence.append(self._text[:320])
            sequence.snapshot()
            yield "decode after a snapshot", self._steps([sequence], 320, 3)
            sequence.truncate(320)
            yield "append after truncate", sequence.append(self._text[320:420])
            sequence.truncate(320)
            sequence.save(path)
        with self._model.restore(path) as sequence:
            yield "append after restore", sequence.append(self._text[320:500])
            with sequence.fork() as other:
                yield "decode after both", self._steps([other, sequence], 500, 3)
        path.unlink()

    def _answers(self) -> Iterator[tuple[str, np.ndarray]]:
        for length in (64, 200, 448):
            text = self._text[:length]
            greedy = self._model.generate(text, 8, temperature=0.0, ignore_eos=True)
            yield f"greedy answer after {length}", np.array(greedy)
            drawn = {"temperature": 0.9, "top_k": 20, "top_p": 0.95, "seed": 5}
            found = self._model.generate(text, 8, ignore_eos=True, **drawn)
            yield f"drawn answer after {length}", np.array(found)

    def _other_cuts(self) -> Iterator[tuple[str, np.ndarray]]:
        text = self._text
        yield "~ prefill of one token", self._model.logits(text[:1])
        yield "~ prefill 257, one token left over", self._model.logits(text[:257])
        yield "~ prefill 300 in chunks of 37", self._model.logits(text[:300], chunk=37)
        with self._model.sequence() as sequence:
            cuts = ((0, 100), (100, 201), (201, 202))
            rows = [sequence.append(text[begin:end]).copy() for begin, end in cuts]
            yield "~ append after 100, 201", np.stack(rows)
            yield "~ decode after 202", self._steps([sequence], 202, 3)

    def _reuse(self) -> Iterator[tuple[str, np.ndarray]]:
        cached = {"batch": 2, "prefix_cache": "64MiB", "snapshot_every": 64}
        with load(self._artifact, self._options | cached) as model:
            for name, length, more in (("", 448, 180), ("~ ", 300, 41), ("~ ", 650, 1)):
                text = self._text[:length]
                other = [*text, *self._text[1024 - more :]]
                for turn in ("first", "again"):
                    with model.sequence() as sequence:
                        yield f"{name}{turn} {length}, kept", sequence.append(text)
                with model.sequence() as sequence:
                    found = sequence.append(other)
                    yield f"{name}{more} tokens after a kept prefix of {length}", found
                with model.sequence() as sequence:
                    found = sequence.append([*text[: length - 70], *self._text[-150:]])
                    yield f"~ departing from {length}", found

    def _steps(self, sequences: list[Any], start: int, count: int) -> np.ndarray:
        """Logits [count, batch, vocabulary] of single tokens, of the text from `start` on."""
        rows = []
        for step in range(count):
            tokens = [self._text[(start + 7 * i + step) % 1024] for i in range(len(sequences))]
            rows.append(self._model.decode(sequences, tokens).copy())
        return np.stack(rows)


def _flat(seen: dict[Any, Any]) -> np.ndarray:
    """What was observed in all layers, one behind the other."""
    order = sorted(seen, key=lambda layer: -1 if layer is None else layer)
    parts = [part for layer in order for part in _arrays(seen[layer])]
    return np.concatenate([np.ravel(part) for part in parts])


def _arrays(value: Any) -> list[np.ndarray]:
    return [value[key] for key in sorted(value)] if isinstance(value, dict) else [value]


class Timed:
    """A loaded model whose calls are timed."""

    def __init__(self, artifact: str, options: dict[str, Any]) -> None:
        """Load it, with a sequence."""
        self._model = load(artifact, options)
        self._sequence = self._model.sequence()
        self._text = np.random.default_rng(1).integers(3, self._model.vocabulary, 1 << 15).tolist()

    def reset(self, length: int) -> None:
        """Begin a text of some tokens."""
        self._sequence.close()
        self._sequence = self._model.sequence()
        if length:
            self._sequence.append(self._text[:length])

    def prefill(self, length: int) -> float:
        """Time reading some tokens of a new text."""
        self.reset(0)
        text = self._text[:length]
        return self._timed(lambda: self._sequence.append(text))

    def decode(self, count: int) -> float:
        """Time single tokens."""
        return self._timed(
            lambda: [self._model.decode([self._sequence], [7 + i]) for i in range(count)]
        )

    def _timed(self, work: Callable[[], object]) -> float:
        """Seconds of some work."""
        began = time.perf_counter()
        work()
        return time.perf_counter() - began


def main() -> None:
    """Answer requests `{"do": name, "with": {...}}`, one a line, until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the summary that the compiler prints
    actions: dict[str, Any] = {
        "write_checkpoint": write_checkpoint,
        "compile_artifact": compile_artifact,
        "compute": compute,
        "time": Timed,
    }
    for line in sys.stdin:
        request = json.loads(line)
        try:
            value = actions[request["do"]](**request["with"])
            if isinstance(value, Timed):
                actions |= {name: getattr(value, name) for name in ("reset", "prefill", "decode")}
            answer = {} if isinstance(value, Timed) else {"value": value}
        except (Exception, SystemExit) as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
