"""What tests of sequences share."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from sala_compile.runtime.artifact import PhaseName
from sala_compile.runtime.devices.device import BoundProgram, Hooks, StepSizes
from sala_compile.runtime.engine.chunk import SequenceChunk
from sala_compile.runtime.model import Model
from sala_compile.runtime.sequence import TokenSequence


def text(model: Model, length: int, seed: int = 0) -> np.ndarray:
    """Random tokens, int32 [length]."""
    ids = np.random.default_rng(seed).integers(0, model.vocabulary, length)
    return ids.astype(np.int32)


def used(model: Model) -> dict[str, int]:
    """How much of every pool is held: sequences, snapshots, and the pages of each group."""
    info = model.info()
    pools = {name: info[name] for name in ("sequences", "snapshots")} | info["pages"]
    return {name: pool["used"] for name, pool in pools.items()}


def assert_unused(model: Model) -> None:
    """Nothing is held: nothing leaked."""
    assert not any(used(model).values()), used(model)


def chunk(
    sequence: TokenSequence, token_ids: Sequence[int] | np.ndarray, rows: Sequence[int] = (-1,)
) -> SequenceChunk:
    """Tokens that a step reads, or generates if it is one, as a call of their own.

    `rows` count from the end where they are negative.
    """
    ids = np.asarray(token_ids, np.int32)
    wanted = [range(len(ids))[row] for row in rows]
    return SequenceChunk(sequence.state, ids, len(sequence) + len(ids), len(ids) == 1, wanted)


def step(
    model: Model, sequences: Sequence[TokenSequence], texts: Sequence[Sequence[int] | np.ndarray]
) -> np.ndarray:
    """Append a text to each sequence, all in one step; the logits [sequences, vocabulary]."""
    chunks = [chunk(each, ids) for each, ids in zip(sequences, texts, strict=True)]
    results = model.engine.step(chunks, all_or_none=True)
    return np.concatenate([result.checked().logits for result in results])


def assert_bits_stay(
    model: Model,
    ids: np.ndarray,
    tokens: Sequence[int],
    others: Sequence[np.ndarray],
    file: Path,
) -> None:
    """A text that is read in cuts at multiples of 64, saved and forked continues by `tokens`, in a
    batch with `others` and after drafted tokens that are refused, to the bits of one that is alone.
    """
    with model.sequence() as alone:
        read = alone.append(ids)
        wanted = [alone.append([token]) for token in tokens]
    sequence, result = model.sequence(), None
    for end in (64, 192, len(ids)):
        new = ids[len(sequence) : end]
        if len(new):
            part = SequenceChunk(sequence.state, new, len(ids), rows=[len(new) - 1])
            (result,) = model.engine.step([part], all_or_none=True)
    assert result is not None
    np.testing.assert_array_equal(result.checked().logits[0], read)
    sequence.save(file)
    batch = [sequence.fork(), model.restore(file)]
    with sequence:
        drafts = np.array([*tokens[:1], *others[0][:3]], np.int32)
        part = SequenceChunk.verify(sequence.state, drafts, lambda logits: 1)
        (result,) = model.engine.step([part], all_or_none=True)
        np.testing.assert_array_equal(result.checked().logits[0], wanted[0])
        np.testing.assert_array_equal(sequence.append([tokens[1]]), wanted[1])
    for other in others:
        batch.append(model.sequence())
        batch[-1].append(other)
    for token, row in zip(tokens, wanted, strict=True):
        found, restored, *_ = model.decode(batch, [token] * len(batch))
        np.testing.assert_array_equal(found, row)
        np.testing.assert_array_equal(restored, row)
    for each in batch:
        each.close()


@contextmanager
def spoiled(model: Model, *rows: int) -> Iterator[None]:
    """Make rows of all logits NaN inside the block, as damaged states would make them."""

    class Spoiled:
        def __init__(self, program: BoundProgram) -> None:
            self._program = program
            self.phases = program.phases
            self.close = program.close

        def run(self, phase: PhaseName, sizes: StepSizes, hooks: Hooks | None = None) -> None:
            self._program.run(phase, sizes, hooks)
            if phase is PhaseName.LOGITS:
                memory = model.memory
                width = memory.plan.places["logits"].shape[1]
                wrong = np.full((len(rows), width), np.nan, np.float32)
                memory.write_rows("logits", rows, wrong)

    with model.wrapped(Spoiled):
        yield
