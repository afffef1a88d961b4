"""The runs of the program that a step consists of."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from sala_compile.runtime.engine.chunk import SequenceChunk
from sala_compile.runtime.engine.stepper import Stepper

Run = list[tuple[int, SequenceChunk]]
"""Chunks, or parts of them, of different sequences, with the numbers of the chunks."""


def runs_of(chunks: Mapping[int, SequenceChunk], stepper: Stepper) -> list[Run]:
    """The chunks, in the fewest runs that keep every bit.

    Several generated tokens of a sequence are parts of their own where the attention path changes
    between them, and where a run has no more rows for them. Where the program splits, generated
    tokens run first, in the decode phase, so that a device feeds itself its choices.
    """
    if all(len(chunk.token_ids) == 1 and chunk.generated for chunk in chunks.values()):
        return [[*chunks.items()]] if chunks else []
    generated = {index: chunk for index, chunk in chunks.items() if chunk.generated}
    reading = [(index, chunk) for index, chunk in chunks.items() if not chunk.generated]
    rounds = list(_rounds(generated, stepper))
    if not reading:
        return rounds
    if stepper.target.splits or not rounds:
        return [*rounds, reading]
    return [[*rounds[0], *reading], *rounds[1:]]


def _rounds(chunks: Mapping[int, SequenceChunk], stepper: Stepper) -> Iterator[Run]:
    """Runs of generated tokens: a part of every chunk that is not done, one token at least."""
    done = dict.fromkeys(chunks, 0)
    while done:
        run: Run = []
        spare = stepper.generated_rows - len(done)
        for index, first in list(done.items()):
            chunk = chunks[index]
            last = _end(chunk, first, spare, stepper)
            spare -= last - first - 1
            run.append((index, _part(chunk, first, last)))
            done[index] = last
            if last == len(chunk):
                del done[index]
        yield run


def _end(chunk: SequenceChunk, first: int, spare: int, stepper: Stepper) -> int:
    """The end of a part from token `first` on, of one token and up to `spare` more."""
    path, history = stepper.rule.path, chunk.state.length
    end = first + 1
    while end < min(len(chunk), first + 1 + spare):
        if path(history + end) != path(history + end + 1):
            break
        end += 1
    return end


def _part(chunk: SequenceChunk, first: int, end: int) -> SequenceChunk:
    """The tokens from `first` to `end` of a chunk that was generated."""
    if end - first == len(chunk):
        return chunk
    inside = [number for number, row in enumerate(chunk.rows) if first <= row < end]
    part = replace(
        chunk,
        token_ids=chunk.token_ids[first:end],
        call_length=chunk.state.length + end,
        rows=[chunk.rows[number] - first for number in inside],
        draws=[chunk.draws[number] for number in inside] if chunk.draws else (),
        out=None,
    )
    if chunk.checkpoint >= 0:
        part.checkpoint = chunk.checkpoint + first
    return part
