"""The tiles of queries of a step: tokens of one sequence that are answered together."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.attend_blocks.cpu.schedule import (
    MOST_SEGMENTS,
    PARTIAL_ROWS,
    Schedule,
)
from sala_compile.codegen.kernels.attend_blocks.spec import Spec
from sala_compile.codegen.kernels.tir.builder import Expr, held, loop, scalar
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.sequence_tiles import SequenceTiles, segments_at_most


@dataclass(frozen=True, slots=True)
class QueryTiles(SequenceTiles):
    """A dense tile ends at a multiple of `Schedule.queries`; a token with lists is one alone."""

    spec: Spec
    schedule: Schedule

    def is_sparse(self, first: Expr) -> Expr:
        """Whether the sequence whose first token is `first` has lists of blocks."""
        counts = self.tensors.find("counts")
        if counts is None:
            return T.bool(False)
        return counts[T.min(first, self.tensors.control.tokens - 1), 0] >= 0

    def width(self, first: Expr) -> Expr:
        """Tokens of a whole tile of the sequence whose first token is `first`."""
        queries = T.int32(self.schedule.queries(self.spec))
        return held(T.if_then_else(self.is_sparse(first), T.int32(1), queries))


@dataclass(frozen=True, slots=True)
class StepDivision:
    """How a step is divided: `tiles` of queries with at most `rows` rows, `parts` of each.

    An item of work is a tile of queries and `heads` kv heads: as many as there is room for, so
    that memory is read in its order, and work for all. Where there are fewer than four tiles and
    kv heads for every worker, each of their segments is an item, and `is_split` is true.
    """

    tiles: Expr
    rows: Expr
    parts: Expr
    heads: Expr
    is_split: Expr

    def groups(self, spec: Spec) -> Expr:
        """Groups of `heads` kv heads."""
        return (spec.kv_heads + self.heads - 1) // self.heads

    @classmethod
    def of(cls, tiles: QueryTiles) -> "StepDivision":
        """Emit the counting; nothing is divided further than the workspace has room for."""
        spec, control = tiles.spec, tiles.tensors.control
        total, most, parts = (scalar(T.int32(n), "int32") for n in (0, 1, 1))
        has_lists = scalar(T.int32(0), "int32")
        with loop(control.sequences) as sequence:
            first, position, tokens = tiles.extent(sequence)
            width = tiles.width(first)
            total[0] = total[0] + tiles.number(position, tokens, width)
            most[0] = T.max(most[0], T.min(width, tokens))
            entries = (position + tokens - 1) // spec.block_size + 1
            if spec.budget:
                is_sparse = tiles.is_sparse(first)
                entries = T.if_then_else(is_sparse, T.int32(spec.budget), entries)
                has_lists[0] = T.if_then_else(is_sparse, T.int32(1), has_lists[0])
            parts[0] = T.max(
                parts[0], segments_at_most(entries, tiles.schedule.segment(spec), MOST_SEGMENTS)
            )
        items = held(total[0] * spec.kv_heads)
        rows = held(most[0] * spec.group)
        few = T.And(items < 4 * control.workers, T.And(control.workers > 1, parts[0] > 1))
        fits = items * rows * parts[0] <= control.workers * PARTIAL_ROWS
        is_split = scalar(T.Cast("int32", T.And(few, fits)), "int32")
        shared = held(T.if_then_else(is_split[0] != 0, parts[0], T.int32(1)))
        height = tiles.schedule.row_tile
        room = tiles.schedule.rows(spec) // ((rows + (height - 1)) // height * height)
        enough = T.if_then_else(control.workers > 1, items * shared // (2 * control.workers), room)
        heads = T.min(T.min(enough, room), spec.kv_heads)
        heads = T.if_then_else(has_lists[0] != 0, T.int32(1), T.max(heads, T.int32(1)))
        together = scalar(heads, "int32")
        return cls(total[0], rows, shared, together[0], is_split[0] != 0)
