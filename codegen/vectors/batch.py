"""The ragged batches that kernels are tried on, as the kernels get them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sala_compile.runtime.artifact.batch_fields import (
    CONTROL_WORDS,
    InputName,
    PlainChunk,
    batch_arrays,
)
from sala_compile.sala_ir.dialect.state_parts import TABLE
from sala_compile.sala_ir.dialect.types import CompressedKeysType
from sala_compile.sala_ir.reference import Batch, make_batch

SPARE_ROWS = 3
"""Rows that every buffer has beyond the live ones."""
POISON = -1
"""What no kernel may read: entries beyond the live ones."""


@dataclass(frozen=True, slots=True)
class Part:
    """One sequence: tokens that came before, new ones, and its length when the call is done."""

    history: int
    count: int
    call_length: int
    generated: bool = False


@dataclass(frozen=True)
class VectorBatch:
    """Sequences over pages that are not in order; the first slot belongs to nobody."""

    parts: tuple[Part, ...]
    block_size: int

    @property
    def tokens(self) -> int:
        """New tokens of all sequences."""
        return sum(part.count for part in self.parts)

    @property
    def slots(self) -> tuple[int, ...]:
        """The slot of each sequence, the last sequence in the lowest."""
        return tuple(range(len(self.parts), 0, -1))

    @property
    def slot_count(self) -> int:
        """Slots, the unused one included."""
        return len(self.parts) + 1

    @property
    def sequence_pages(self) -> int:
        """Pages of the longest sequence."""
        return max(-(-(part.history + part.count) // self.block_size) for part in self.parts)

    @property
    def compressed_pages(self) -> int:
        """Compressed pages of the longest sequence."""
        return -(-self.sequence_pages // CompressedKeysType.PAGE_BLOCKS)

    @cached_property
    def page_table(self) -> np.ndarray:
        """Row of each slot: its pages."""
        return self._table(self.sequence_pages)

    @cached_property
    def compressed_table(self) -> np.ndarray:
        """Row of each slot: its compressed pages."""
        return self._table(self.compressed_pages)

    def _table(self, columns: int) -> np.ndarray:
        count = self.slot_count * columns
        return (count - 1 - np.arange(count, dtype=np.int32)).reshape(self.slot_count, columns)

    @property
    def reference(self) -> Batch:
        """The batch of the reference."""
        return make_batch(
            self._offsets,
            [part.history for part in self.parts],
            [part.call_length for part in self.parts],
            self.slots,
        )

    @property
    def logit_rows(self) -> np.ndarray:
        """The last token of every sequence."""
        return np.asarray(self._offsets[1:], np.int32) - 1

    @property
    def _offsets(self) -> list[int]:
        return np.cumsum([0, *(part.count for part in self.parts)]).tolist()

    def control(self) -> tuple[int, ...]:
        """The control tensor, without the number of threads."""
        live = (self.tokens, len(self.parts), len(self.parts))
        return (*live, *[0] * (CONTROL_WORDS - len(live)))

    def field(self, name: str) -> np.ndarray:
        """A field of the batch, poison behind the live entries."""
        return (
            getattr(self, name) if name.endswith(TABLE) else _spare(self._fields[InputName(name)])
        )

    @cached_property
    def _fields(self) -> dict[InputName, np.ndarray]:
        return batch_arrays(
            [
                PlainChunk(
                    np.zeros(part.count, np.int32),
                    part.history,
                    part.call_length,
                    slot,
                    part.generated,
                )
                for part, slot in zip(self.parts, self.slots, strict=True)
            ]
        )


def _spare(values: Sequence[int] | np.ndarray) -> np.ndarray:
    return np.concatenate([np.asarray(values), np.full(SPARE_ROWS, POISON)]).astype(np.int32)


def short_batch(block_size: int, window: int) -> VectorBatch:
    """A new sequence, one that completes a window of `window` tokens, one that decodes."""
    parts = ((0, 5, False), (window - 2, 3, False), (block_size + 1, 1, True))
    return VectorBatch(tuple(Part(h, c, h + c, g) for h, c, g in parts), block_size)


def long_batch(block_size: int, blocks: int, dense_len: int) -> VectorBatch:
    """A call beyond `blocks` blocks, a dense one where there are such, and one that decodes."""
    far = blocks * block_size + block_size // 2
    parts = [Part(far, 2, max(far + 2, dense_len)), Part(1, 3, 4)]
    middle = far // 2
    parts.append(Part(middle, 1, max(middle + 1, dense_len), generated=True))
    return VectorBatch(tuple(parts), block_size)
