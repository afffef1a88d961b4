"""What the teacher itself would write: distillation needs no other corpus.

The teacher is compiled and runs in our runtime, many texts at a time.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np

from examples.halo.artifacts import compiled, loaded
from examples.halo.files import write_whole
from examples.halo.options import ConvertOptions
from examples.halo.teacher import Teacher
from examples.halo.training.stage_training import Clock, OutOfTime

STAGE = "samples"
ARTIFACT = "teacher.sala"
TEXTS = 32
"""Texts that are written at a time."""
PART_TOKENS = 1 << 16
"""Tokens of a file of samples, at least."""


def sampled_texts(
    options: ConvertOptions, source: Teacher, clock: Clock, report: Any
) -> tuple[Path, ...]:
    """Files of token ids, `sample_tokens` in all; those that are there are not written again.

    OutOfTime where the clock ends before the last of them.
    """
    folder = options.work / STAGE
    count = math.ceil(options.sample_tokens / PART_TOKENS)
    size = min(PART_TOKENS, options.sample_tokens)
    paths = [folder / f"part-{number:04}.npy" for number in range(count)]
    missing = [(number, path) for number, path in enumerate(paths) if not path.is_file()]
    if missing:
        context = options.long_length + 1
        artifact = compiled(source.directory, options.work / ARTIFACT, context)
        with loaded(artifact, context, batch=TEXTS, threads=options.threads) as model:
            for number, path in missing:
                if clock.is_over:
                    raise OutOfTime
                ids = write_samples(model, source.config, options.seed, number, size)
                with write_whole(path) as file:
                    np.save(file, ids)
                report(STAGE, {"step": number + 1}, count, float("nan"))
    return tuple(paths)


def write_samples(
    model: Any, config: Any, seed: int, number: int, size: int, texts: int = TEXTS
) -> np.ndarray:
    """At least `size` tokens of whole texts, uint32 [tokens], drawn at temperature 1.

    The largest logit minus the logarithm of an exponential variable of its own is such a token.
    A text begins with the first token of the model (any token, where it has none, and where
    texts begin with their end); it ends with an end token or the context of the model.
    """
    generator = np.random.default_rng([seed, 7, number])
    finished: list[np.ndarray] = []
    writers = [_Writer(model, config, generator) for _ in range(texts)]
    while sum(map(len, finished)) < size:
        tokens = [writer.last for writer in writers]
        logits = model.decode([writer.sequence for writer in writers], tokens)
        chances = generator.standard_exponential(logits.shape).astype(np.float32)
        drawn = (logits - np.log(chances, out=chances)).argmax(axis=1)
        for index, (writer, token) in enumerate(zip(writers, drawn, strict=True)):
            if writer.take(int(token)):
                finished.append(np.array(writer.ids, np.uint32))
                writer.sequence.close()
                writers[index] = _Writer(model, config, generator)
    for writer in writers:
        writer.sequence.close()
    return np.concatenate(finished)


class _Writer:
    """A text that is being written, and its sequence."""

    def __init__(self, model: Any, config: Any, generator: np.random.Generator) -> None:
        ends = config.get("eos_token_id")
        self._ends = set(ends if isinstance(ends, list) else [] if ends is None else [ends])
        first = config.get("bos_token_id")
        if first is None or first in self._ends:
            first = int(generator.integers(config["vocab_size"]))
        self.sequence = model.sequence()
        self.ids = [int(first)]
        self._room = model.context

    @property
    def last(self) -> int:
        """The token that the model reads next."""
        return self.ids[-1]

    def take(self, token: int) -> bool:
        """Add a token; whether the text has ended with it."""
        self.ids.append(token)
        return token in self._ends or len(self.ids) >= self._room
