"""The queries that are answered together, and the layout of their workspaces."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.attend_blocks.cpu.schedule import Schedule
from sala_compile.codegen.kernels.attend_blocks.spec import Spec
from sala_compile.codegen.kernels.tir.builder import LANES, Expr, Tensors, lanes, let
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.product import Product
from sala_compile.codegen.layouts.padding import padded

MASKED = -1e30
"""The score of a key that may not be read: below every other, and its exponential is 0."""


@dataclass(frozen=True, slots=True)
class QueryRows:
    """The rows (token, head of the group) of `count` tokens from `token` on, for one kv head.

    In the workspaces of a worker, with R rows, S scores to a row of a tile, `columns` = head_dim
    padded to 16: scores [R, S], outputs [R, columns], maxima, sums and factors [R, 16]; queries
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
    table_row: Expr
    dense: Expr
    entries: Expr

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
    def outputs_at(self) -> int:
        return self.schedule.rows(self.spec) * self.width

    @property
    def maxima_at(self) -> int:
        return self.outputs_at + self.schedule.rows(self.spec) * self.columns

    @property
    def sums_at(self) -> int:
        return self.maxima_at + self.schedule.rows(self.spec) * LANES

    @property
    def factors_at(self) -> int:
        return self.sums_at + self.schedule.rows(self.spec) * LANES

    @property
    def probabilities_at(self) -> int:
        return self.schedule.rows(self.spec) * self.columns

    def floats(self, place: Expr) -> Expr:
        return self.tensors.scores[self.worker, lanes(place)]

    def keep(self, place: Expr, value: Expr) -> None:
        self.tensors.scores[self.worker, lanes(place)] = value

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
