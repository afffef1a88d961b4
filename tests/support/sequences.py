"""What tests of sequences share."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

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
