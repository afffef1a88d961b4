"""Sequences that begin with a drawn state, and the rows that a step adds to a state."""

from collections.abc import Iterator

import numpy as np

from sala_compile.runtime.artifact import ElementType
from sala_compile.runtime.artifact.golden import drawn_rows, narrow_bfloat16
from sala_compile.runtime.devices.device import Memory
from sala_compile.runtime.state.state_layout import StateLayout, read_pieces, write_pieces
from sala_compile.runtime.state.store import State


def draw_state(layout: StateLayout, memory: Memory, state: State, seed: int, sequence: int) -> None:
    """Fill the pools of a state with the numbers that the reference drew for `sequence`."""
    for part in layout.parts(state.length):
        name = part.pool.rpartition("/")[2]
        rows = drawn_rows(seed, name, sequence, part.shape, part.element, part.unit)
        data = (narrow_bfloat16(rows) if part.element is ElementType.UINT16 else rows).tobytes()
        begin = 0
        for size, writer in write_pieces(part, memory, state):
            writer.write(data[begin : begin + size])
            begin += size


def new_rows(
    layout: StateLayout, memory: Memory, state: State, history: int
) -> Iterator[tuple[str, np.ndarray]]:
    """The rows of every pool that tokens beyond `history` added; all of a recurrent state."""
    before = {part.pool: part.rows for part in layout.parts(history)}
    for part in layout.parts(state.length):
        rows = np.concatenate([*read_pieces(part, memory, state), np.zeros((0, *part.row))])
        added = rows.astype(part.element.numpy)
        yield part.pool, added if part.group is None else added[before[part.pool] :]
