"""Tiles of the gated delta kernel of a CPU, and the layout of what a worker computes with them."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.gated_recurrence.spec import CHUNK, Spec
from sala_compile.codegen.kernels.tir.builder import LANES
from sala_compile.codegen.layouts.padding import padded

BLOCK = LANES
"""Tokens between which decays by channel are multiplied one by one."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Register tiles: `row_tile` x `column_vectors` in a chunk, `step_vectors` in a single step."""

    row_tile: int = 8
    column_vectors: int = 2
    step_vectors: int = 4

    @property
    def rows(self) -> int:
        """Rows of a chunk, rounded up to whole tiles."""
        return -(-CHUNK // self.row_tile) * self.row_tile


@dataclass(frozen=True, slots=True)
class Places:
    """Where a worker has the matrices of a chunk, in floats from the start of its memory.

    Rows are tokens. `queries` and `keys` are [rows, key columns], `transposed` the keys [key
    columns, 64], `ending` the keys after the decay to the end of the chunk, `updates` first the
    values and then what is written [rows, value columns].
    [rows, 64]: `decays` of a token since each one before it, `scores`, `corrections`. [rows]:
    `since` the beginning, `rates`.

    With `channels` there are also, as wide as a key, `own_decays` of the tokens [rows], queries and
    keys after the decay since the beginning of their block, `block_queries` and `block_keys`
    [block], and the decays since it and since the beginning of the chunk, `block_decay` and
    `whole_decay`; `transposed` then are keys that decayed until now.
    """

    rows: int
    key_columns: int
    value_columns: int
    channels: bool = False

    @classmethod
    def of(cls, spec: Spec, schedule: Schedule) -> "Places":
        """The places for a kernel."""
        keys, values = padded(spec.key_dim), padded(spec.value_dim)
        return cls(schedule.rows, keys, values, spec.channel_decay)

    @property
    def queries(self) -> int:
        return 0

    @property
    def keys(self) -> int:
        return self.rows * self.key_columns

    @property
    def transposed(self) -> int:
        return self.keys + self.rows * self.key_columns

    @property
    def ending(self) -> int:
        return self.transposed + self.key_columns * CHUNK

    @property
    def updates(self) -> int:
        return self.ending + self.rows * self.key_columns

    @property
    def decays(self) -> int:
        return self.updates + self.rows * self.value_columns

    @property
    def scores(self) -> int:
        return self.decays + self.rows * CHUNK

    @property
    def corrections(self) -> int:
        return self.scores + self.rows * CHUNK

    @property
    def since(self) -> int:
        return self.corrections + self.rows * CHUNK

    @property
    def rates(self) -> int:
        return self.since + padded(self.rows)

    @property
    def own_decays(self) -> int:
        return self.rates + padded(self.rows)

    @property
    def block_queries(self) -> int:
        return self.own_decays + self.rows * self.key_columns

    @property
    def block_keys(self) -> int:
        return self.block_queries + BLOCK * self.key_columns

    @property
    def block_decay(self) -> int:
        return self.block_keys + BLOCK * self.key_columns

    @property
    def whole_decay(self) -> int:
        return self.block_decay + self.key_columns

    @property
    def size(self) -> int:
        """Floats of all."""
        if not self.channels:
            return self.own_decays + LANES
        return self.whole_decay + self.key_columns + LANES
