"""The queries that are answered together, and the layout of their workspaces."""

from dataclasses import dataclass, replace

from sala_compile.codegen.kernels.attend_blocks.cpu.schedule import Schedule
from sala_compile.codegen.kernels.attend_blocks.cpu.split_columns import SplitColumns
from sala_compile.codegen.kernels.attend_blocks.spec import Spec
from sala_compile.codegen.kernels.tir.builder import LANES, Expr, Tensor, Tensors, held, lanes, let
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.product import Product
from sala_compile.codegen.layouts.padding import padded

MASKED = -1e30
"""The score of a key that may not be read: below every other, and its exponential is 0."""


@dataclass(frozen=True, slots=True)
class PartialRow:
    """A partial result of a row: output [columns], maximum, sum and blocks read, 16 lanes each."""

    tensor: Tensor
    row: tuple[Expr, ...]
    start: Expr
    columns: int

    def get(self, column: Expr) -> Expr:
        """16 floats of the output, or of what is after it."""
        return self.tensor[(*self.row, lanes(self.start + column))]

    def put(self, column: Expr, value: Expr) -> None:
        """Emit a write of 16 floats."""
        self.tensor[(*self.row, lanes(self.start + column))] = value

    @property
    def maximum(self) -> int:
        """Where all 16 lanes have the row's maximum."""
        return self.columns

    @property
    def total(self) -> int:
        """Where the sums of the exponentials are, lane by lane."""
        return self.columns + LANES

    @property
    def visited(self) -> int:
        """Where all 16 lanes have the number of blocks that were read."""
        return self.columns + 2 * LANES


@dataclass(frozen=True, slots=True)
class QueryRows:
    """The rows (token, head of the group) of `count` tokens from `token` on, for one kv head.

    Several kv heads may share the workspaces: the rows of this one begin at `base`. In those of a
    worker, with R rows, S scores to a row of a tile, `columns` = head_dim padded to 16: scores
    [R, S], records of the segment [R] and of all segments so far [R], factors [R, 16]; queries
    [R, columns] and probabilities [R, S] as elements.
    """

    spec: Spec
    schedule: Schedule
    tensors: Tensors
    worker: Expr
    token: Expr
    count: Expr
    head: Expr
    position: Expr
    sequence: Expr
    table_row: Expr
    dense: Expr
    entries: Expr
    base: Expr = 0

    @property
    def product(self) -> Product:
        return self.schedule.product(self.spec)

    @property
    def rows(self) -> Expr:
        return self.count * self.spec.group

    @property
    def width(self) -> int:
        return self.schedule.tile_columns(self.spec)

    @property
    def columns(self) -> int:
        return padded(self.spec.head_dim)

    @property
    def factors_at(self) -> int:
        schedule, spec = self.schedule, self.spec
        return schedule.rows(spec) * (self.width + 2 * schedule.record(spec))

    @property
    def probabilities_at(self) -> int:
        return self.schedule.rows(self.spec) * self.columns

    def of(self, index: Expr) -> "QueryRows":
        """The rows of the kv head that is `index` heads after this one."""
        height = self.schedule.row_tile
        rows = (self.rows + (height - 1)) // height * height
        return replace(self, head=held(self.head + index), base=held(index * rows))

    @property
    def split(self) -> SplitColumns:
        """The memory for columns whose pairs are split."""
        return SplitColumns(self.tensors.split, self.worker, self.schedule.column_vectors)

    def floats(self, place: Expr) -> Expr:
        return self.tensors.scores[self.worker, lanes(place)]

    def operands(self, place: Expr) -> Expr:
        """16 floats of queries or probabilities, where these are floats."""
        return self.tensors.operands[self.worker, lanes(place)]

    def keep(self, place: Expr, value: Expr) -> None:
        self.tensors.scores[self.worker, lanes(place)] = value

    def current(self, row: Expr) -> PartialRow:
        """The record of a row for the segment that is read."""
        start = self.schedule.rows(self.spec) * self.width
        return self._record(start + (self.base + row) * self.schedule.record(self.spec))

    def joined(self, row: Expr) -> PartialRow:
        """The record of a row for all segments so far."""
        rows = self.schedule.rows(self.spec)
        start = rows * (self.width + self.schedule.record(self.spec))
        return self._record(start + (self.base + row) * self.schedule.record(self.spec))

    def factor(self, row: Expr) -> Expr:
        """Where the factor of the output of a row is."""
        return self.factors_at + (self.base + row) * LANES

    def scores(self, row: Expr) -> Expr:
        """Where the scores of a row begin."""
        return (self.base + row) * self.width

    def query(self, row: Expr) -> Expr:
        """Where the query of a row begins among the operands."""
        return (self.base + row) * self.columns

    def probabilities(self, row: Expr) -> Expr:
        """Where the probabilities of a row begin among the operands."""
        return self.probabilities_at + (self.base + row) * self.width

    def _record(self, start: Expr) -> PartialRow:
        return PartialRow(self.tensors.scores, (self.worker,), start, self.columns)

    def place(self, row: Expr) -> tuple[Expr, Expr]:
        """Token and query head of a row."""
        group = self.spec.group
        return let(self.token + row // group), let(self.head * group + row % group)

    def block(self, entry: Expr) -> Expr:
        """The block of an entry; of the last one for an entry beyond. Never one without a page."""
        entry = let(T.min(entry, self.entries - 1))
        blocks = self.tensors.find("blocks")
        if blocks is None:
            return entry
        own = (self.position + self.count - 1) // self.spec.block_size
        listed = blocks[self.token, self.head, entry]
        return T.if_then_else(self.dense, entry, T.max(T.min(listed, own), T.int32(0)))
