"""The sequences of a golden step: what their kernels have to be tried on."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from xdsl.dialects.builtin import ModuleOp

from sala_compile.codegen.layouts.encodings import part_name
from sala_compile.codegen.program.stored_state import stored_parts
from sala_compile.runtime.artifact.golden import drawn_rows
from sala_compile.sala_ir.dialect.stages import SelectBlocksOp
from sala_compile.sala_ir.dialect.state_parts import StatePart
from sala_compile.sala_ir.dialect.types import (
    CompressedKeysType,
    KvCacheType,
    StateType,
)

TOKENS = 12
"""Tokens of the first sequence, all of whose logits are kept."""
DEFAULT_BLOCK = 64
COARSE_WINDOW = 8
"""Strides in a coarse window."""
BLOCKS_BEYOND = 3
"""Blocks beyond the budget and the first ones that a selection has to choose from."""


@dataclass(frozen=True, slots=True)
class GoldenPart:
    """New tokens of one sequence after `history` tokens; its length when the call is done."""

    history: int
    count: int
    call_length: int

    @property
    def length(self) -> int:
        """Tokens after the step."""
        return self.history + self.count

    @property
    def name(self) -> str:
        """In a few words."""
        tokens = "1 token" if self.count == 1 else f"{self.count} tokens"
        return f"{tokens} after {self.history}" if self.history else tokens


def golden_parts(operations: ModuleOp) -> tuple[GoldenPart, ...]:
    """A new sequence, one that completes a window, one that decodes.

    Where a layer selects blocks, two of them are beyond its budget and in calls that are sparse.
    """
    kinds = {operand.type for op in operations.walk() for operand in op.operands}
    blocks = {kind.page_tokens.data for kind in kinds if isinstance(kind, KvCacheType)}
    strides = {k.kernel_stride.data for k in kinds if isinstance(k, CompressedKeysType)}
    block = max(blocks, default=DEFAULT_BLOCK)
    window = COARSE_WINDOW * max(strides) if strides else block
    found = [GoldenPart(0, TOKENS, TOKENS), GoldenPart(window - 2, 3, window + 1)]
    walked = operations.walk()
    selections = [op.selection.data for op in walked if isinstance(op, SelectBlocksOp)]
    if selections:
        kept = max(each.budget + each.init_blocks for each in selections)
        block = max(each.block_size for each in selections)
        dense_len = max(each.dense_len for each in selections)
        far = (kept + BLOCKS_BEYOND) * block + block // 2
        for history, count in ((far, 2), (far // 2, 1)):
            found.append(GoldenPart(history, count, max(history + count, dense_len)))
    else:
        found.append(GoldenPart(block + 1, 1, block + 2))
    return tuple(found)


def seeded_state(label: str, kind: StateType, history: int, sequence: int, seed: int) -> Any:
    """The drawn state of a sequence of `history` tokens, as the reference keeps it.

    That is an array for each part of the state, the array itself where there is one.
    """
    values: list[np.ndarray] = []
    for stored, shape in zip(stored_parts(kind), state_shapes(kind, history), strict=True):
        name, unit = part_name(label, stored.suffix), stored.part.unit
        array = drawn_rows(seed, name, sequence, shape, stored.value.dtype, unit)
        values.append(array if stored.part.words else array.astype(np.float64))
    return tuple(values) if len(values) > 1 else values[0]


def state_shapes(kind: StateType, length: int) -> list[tuple[int, ...]]:
    """The shapes of the arrays of a state of `length` tokens, in the order of its parts."""
    return [
        part.row if is_fixed(kind, part) else (part.count(length), *part.row) for part in kind.parts
    ]


def is_fixed(kind: StateType, part: StatePart) -> bool:
    """Whether a part of a state is the same size for any number of tokens."""
    return kind.numbering is None or part.slots is not None
