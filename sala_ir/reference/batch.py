"""The ragged batch: which rows of a step belong to which sequence, and at which position."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np


@dataclass(frozen=True, slots=True)
class SequenceRows:
    """One sequence of a step: rows `start` to `stop` are its new tokens.

    `history` tokens came before them; `call_length` is the length of the sequence when the whole
    call is done, which decides between the dense and the sparse regime; `slot` names its state.
    """

    start: int
    stop: int
    history: int
    call_length: int
    slot: int

    @property
    def rows(self) -> slice:
        """The rows of the step that are new tokens of this sequence."""
        return slice(self.start, self.stop)

    @property
    def count(self) -> int:
        """How many tokens are new."""
        return self.stop - self.start

    @property
    def length(self) -> int:
        """How many tokens the sequence has after this step."""
        return self.history + self.count

    @property
    def positions(self) -> np.ndarray:
        """Absolute positions of the new tokens, int64."""
        return np.arange(self.history, self.length)


@dataclass(frozen=True, slots=True)
class SequenceGroup:
    """Neighbours of a step with equal counts, histories and call lengths: they compute as one."""

    parts: tuple[SequenceRows, ...]

    @property
    def first(self) -> SequenceRows:
        """A sequence whose lengths are those of all."""
        return self.parts[0]

    @property
    def rows(self) -> slice:
        """The rows of the step that are new tokens of these sequences."""
        return slice(self.first.start, self.parts[-1].stop)

    @property
    def slots(self) -> tuple[int, ...]:
        """The slots of the sequences, in order."""
        return tuple(part.slot for part in self.parts)


@dataclass(frozen=True, slots=True)
class Batch:
    """The sequences of one step, in the order of their rows."""

    sequences: tuple[SequenceRows, ...]

    def __iter__(self) -> Iterator[SequenceRows]:
        return iter(self.sequences)

    @property
    def groups(self) -> list["SequenceGroup"]:
        """The sequences, neighbours of equal lengths together."""
        runs = groupby(self, key=lambda part: (part.count, part.history, part.call_length))
        return [SequenceGroup(tuple(run)) for _, run in runs]

    @property
    def positions(self) -> np.ndarray:
        """Absolute position of every token of the step, int64 [tokens]."""
        return np.concatenate([np.zeros(0, np.int64), *(part.positions for part in self)])


def make_batch(
    offsets: Sequence[int],
    history: Sequence[int],
    call_lengths: Sequence[int],
    slots: Sequence[int],
) -> Batch:
    """Build the batch from the step's integer inputs.

    `offsets` has one entry more than there are sequences. Page tables do not occur: the reference
    keeps the state of a sequence under its slot.
    """
    fields = zip(pairwise(offsets), history, call_lengths, slots, strict=True)
    return Batch(
        tuple(
            SequenceRows(int(start), int(stop), int(past), int(call), int(slot))
            for (start, stop), past, call, slot in fields
        )
    )
