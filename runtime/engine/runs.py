"""The runs of the program that a step consists of."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import zip_longest

from sala_compile.runtime.engine.chunk import SequenceChunk
from sala_compile.runtime.engine.stepper import Stepper

Run = list[tuple[int, SequenceChunk]]
"""Chunks, or parts of them, of different sequences, with the numbers of the chunks."""


def runs_of(chunks: Mapping[int, SequenceChunk], stepper: Stepper) -> list[Run]:
    """The chunks in as few runs as keep every bit.

    Several generated tokens of a sequence are parts of their own where the attention path changes
    between them, and each alone where the program cannot run them together. Where it splits,
    generated tokens run first, in the decode phase, so that a device feeds itself its choices.
    """
    if all(len(chunk) == 1 and chunk.generated for chunk in chunks.values()):
        return [[*chunks.items()]] if chunks else []
    generated = {index: _parts(c, stepper) for index, c in chunks.items() if c.generated}
    rounds = [
        [(index, part) for index, part in zip(generated, parts, strict=True) if part is not None]
        for parts in zip_longest(*generated.values())
    ]
    reading = [(index, chunk) for index, chunk in chunks.items() if not chunk.generated]
    if not reading:
        return rounds
    if stepper.target.splits or not rounds:
        return [*rounds, reading]
    return [[*rounds[0], *reading], *rounds[1:]]


def _parts(chunk: SequenceChunk, stepper: Stepper) -> list[SequenceChunk]:
    """A chunk of generated tokens as parts that each run at once."""
    return list(_spans(chunk, stepper)) if len(chunk) > 1 else [chunk]


def _spans(chunk: SequenceChunk, stepper: Stepper) -> Iterator[SequenceChunk]:
    first, history = 0, chunk.state.length
    path = stepper.rule.path
    for end in range(1, len(chunk) + 1):
        together = stepper.verifies and end < len(chunk)
        if together and path(history + end) == path(history + end + 1):
            continue
        rows = [row - first for row in chunk.rows if first <= row < end]
        draws = [d for row, d in zip(chunk.rows, chunk.draws, strict=False) if first <= row < end]
        yield replace(
            chunk,
            token_ids=chunk.token_ids[first:end],
            call_length=history + end,
            rows=rows,
            draws=draws,
        )
        first = end
