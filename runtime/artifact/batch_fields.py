"""The ragged batch: every int32 input that is written before a step, in the one list of them.

A kernel names a field `batch:<name>`, a captured step has those that are `captured` as
arguments, the runtime writes those that a program has. A further field is one line of `FIELDS`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np

from sala_compile.runtime.artifact.dims import Dim, Symbol, dim_of

CONTROL_WORDS = 16


class InputName(StrEnum):
    """The inputs, all int32, of which the live part is written before each step.

    A page table for each group of pages of a step comes in addition.
    """

    CONTROL = "control"
    """[16]: tokens, sequences, logit rows, workers, zeros."""
    TOKENS = "tokens"
    """[tokens]: token ids."""
    TOKEN_SEQUENCE = "token_sequence"
    """[tokens]: index of the token's sequence in the step."""
    TOKEN_POSITION = "token_position"
    """[tokens]: position of the token in its sequence."""
    OFFSETS = "offsets"
    """[sequences + 1]: first token of each sequence, and the number of tokens."""
    HISTORY = "history"
    """[sequences]: tokens of the sequence before the step."""
    CALL_LENGTHS = "call_lengths"
    """[sequences]: length when the whole call is done; decides the attention path."""
    GENERATED = "generated"
    """[sequences]: 1 if the new tokens were generated, which take the arithmetic of single
    steps, one after the other; 0 if they are read, in chunks."""
    SLOTS = "slots"
    """[sequences]: the sequence's row in page tables and recurrent pools."""
    CHECKPOINTS = "checkpoints"
    """[sequences]: the row of recurrent pools that gets the state after the first new token of a
    sequence; the rows after it get those after further tokens, but that after the last, which is
    in the sequence's own row. Negative if no state but the last is kept. Only for generated
    tokens."""
    LOGIT_ROWS = "logit_rows"
    """[logit_rows]: the step's tokens whose logits are requested."""
    SAMPLING = "sampling"
    """[logit_rows, 5]: how a row's token is chosen: the bits of float32 temperature, top_p, a
    number from [0, 1) and min_p in words 0, 1, 3 and 4, top_k in word 2. Only if there is a
    sample phase."""


class BatchChunk(Protocol):
    """New tokens of one sequence, as a step takes them.

    `token_ids` int32 [tokens]; `history`: tokens before them; `call_length`: length of the
    sequence when its whole call is done; `slot`: its row in tables and pools of fixed states;
    `generated`: a model chose the tokens, which get the bits of single steps. Others are read.
    `checkpoint`: the first row for the states after all tokens but the last, negative for none.
    """

    @property
    def token_ids(self) -> Sequence[int] | np.ndarray: ...
    @property
    def history(self) -> int: ...
    @property
    def call_length(self) -> int: ...
    @property
    def slot(self) -> int: ...
    @property
    def generated(self) -> bool: ...
    @property
    def checkpoint(self) -> int: ...


@dataclass(frozen=True, slots=True)
class PlainChunk:
    """A `BatchChunk` that is nothing else."""

    token_ids: Sequence[int] | np.ndarray
    history: int
    call_length: int
    slot: int
    generated: bool = False
    checkpoint: int = -1


class Per(StrEnum):
    """What the entries of a field are for."""

    TOKEN = "token"
    SEQUENCE = "sequence"
    BOUNDARY = "boundary"
    """The first token of each sequence, and the end."""
    LOGIT_ROW = "logit_row"


@dataclass(frozen=True, slots=True)
class BatchField:
    """One input of a step.

    `value(chunk, index, begin)` gives the entries for the chunk number `index`, whose first token
    is row `begin` of the step: one for each token, or the sequence's one. `captured`: an argument
    of the captured step; the others follow from those, or say only in which order sums are taken.
    """

    name: InputName
    per: Per
    value: Callable[[BatchChunk, int, int], object]
    captured: bool = True

    @property
    def shape(self) -> tuple[Dim, ...]:
        """The capacity."""
        return (_CAPACITIES[self.per],)


_CAPACITIES: Mapping[Per, Dim] = {
    Per.TOKEN: dim_of(Symbol.TOKENS),
    Per.SEQUENCE: dim_of(Symbol.SEQUENCES),
    Per.BOUNDARY: dim_of(Symbol.SEQUENCES, 1, 1),
    Per.LOGIT_ROW: dim_of(Symbol.LOGIT_ROWS),
}


def _positions(chunk: BatchChunk, index: int, begin: int) -> int | np.ndarray:
    first, count = chunk.history, len(chunk.token_ids)
    return first if count == 1 else np.arange(first, first + count, dtype=np.int32)


def _last_row(chunk: BatchChunk, index: int, begin: int) -> int:
    return begin + len(chunk.token_ids) - 1


FIELDS: tuple[BatchField, ...] = (
    BatchField(InputName.TOKENS, Per.TOKEN, lambda chunk, index, begin: chunk.token_ids),
    BatchField(
        InputName.TOKEN_SEQUENCE, Per.TOKEN, lambda chunk, index, begin: index, captured=False
    ),
    BatchField(InputName.TOKEN_POSITION, Per.TOKEN, _positions, captured=False),
    BatchField(
        InputName.OFFSETS,
        Per.BOUNDARY,
        lambda chunk, index, begin: begin + len(chunk.token_ids),
    ),
    BatchField(InputName.HISTORY, Per.SEQUENCE, lambda chunk, index, begin: chunk.history),
    BatchField(InputName.CALL_LENGTHS, Per.SEQUENCE, lambda chunk, index, begin: chunk.call_length),
    BatchField(
        InputName.GENERATED,
        Per.SEQUENCE,
        lambda chunk, index, begin: chunk.generated,
        captured=False,
    ),
    BatchField(InputName.SLOTS, Per.SEQUENCE, lambda chunk, index, begin: chunk.slot),
    BatchField(
        InputName.CHECKPOINTS,
        Per.SEQUENCE,
        lambda chunk, index, begin: chunk.checkpoint,
        captured=False,
    ),
    BatchField(InputName.LOGIT_ROWS, Per.LOGIT_ROW, _last_row),
)
"""All fields but `control`, page tables and draws; logits are requested after each last token."""

INPUT_SHAPES: dict[InputName, tuple[Dim, ...]] = {
    InputName.CONTROL: (CONTROL_WORDS,),
    **{field.name: field.shape for field in FIELDS},
    InputName.SAMPLING: (dim_of(Symbol.LOGIT_ROWS), 5),
}
"""Every input but the tables of page groups; all are int32."""

KERNEL_FIELDS = tuple(name.value for name in INPUT_SHAPES if name is not InputName.CONTROL)
"""What a kernel may name as `batch:<field>`, besides `control` and the tables of pages."""


class BatchWriter:
    """Writes batches into the arrays of a step's fields, those that are there."""

    def __init__(self, arrays: Mapping[InputName, np.ndarray]) -> None:
        """`arrays` by field; other inputs among them are left alone."""
        known = [(arrays[field.name], field) for field in FIELDS if field.name in arrays]
        self._spread = [(a, f.value) for a, f in known if f.per is Per.TOKEN]
        self._single = [(a, f.value) for a, f in known if f.per in (Per.SEQUENCE, Per.LOGIT_ROW)]
        self._ends = [(a, f.value) for a, f in known if f.per is Per.BOUNDARY]

    def write(self, chunks: Iterable[BatchChunk]) -> tuple[int, int]:
        """Write the live part of every field; the numbers of tokens and of sequences."""
        index, end = -1, 0
        for index, chunk in enumerate(chunks):
            begin, end = end, end + len(chunk.token_ids)
            for array, value in self._spread:
                array[begin:end] = value(chunk, index, begin)
            for array, value in self._single:
                array[index] = value(chunk, index, begin)
            for array, value in self._ends:
                array[index + 1] = value(chunk, index, begin)
        return end, index + 1


def batch_arrays(chunks: Sequence[BatchChunk]) -> dict[InputName, np.ndarray]:
    """The fields of a batch in arrays that are as long as what lives, int32."""
    tokens = sum(len(chunk.token_ids) for chunk in chunks)
    counts = {
        Per.TOKEN: tokens,
        Per.SEQUENCE: len(chunks),
        Per.BOUNDARY: len(chunks) + 1,
        Per.LOGIT_ROW: len(chunks),
    }
    arrays = {field.name: np.zeros(counts[field.per], np.int32) for field in FIELDS}
    BatchWriter(arrays).write(chunks)
    return arrays
