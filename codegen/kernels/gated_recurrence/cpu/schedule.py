"""Tiles of the gated delta kernel of a CPU, and the layout of what a worker computes with them."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.gated_recurrence.spec import CHUNK, Spec
from sala_compile.codegen.kernels.tir.builder import LANES
from sala_compile.codegen.layouts.padding import padded


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
    """

    rows: int
    key_columns: int
    value_columns: int

    @classmethod
    def of(cls, spec: Spec, schedule: Schedule) -> "Places":
        """The places for a kernel."""
        return cls(schedule.rows, padded(spec.key_dim), padded(spec.value_dim))

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
    def size(self) -> int:
        """Floats of all."""
        return self.rates + padded(self.rows) + LANES
