"""The tiles of queries of a step: tokens of one sequence that are answered together."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.attend_blocks.cpu.schedule import (
    MOST_SEGMENTS,
    PARTIAL_ROWS,
    Schedule,
)
from sala_compile.codegen.kernels.attend_blocks.spec import Spec
from sala_compile.codegen.kernels.tir.builder import Expr, Tensors, held, loop, scalar, when
from sala_compile.codegen.kernels.tir.ir import T


@dataclass(frozen=True, slots=True)
class QueryTiles:
    """A dense tile ends at a multiple of `Schedule.queries`; a token with lists is one alone."""

    spec: Spec
    schedule: Schedule
    tensors: Tensors

    def extent(self, sequence: Expr) -> tuple[Expr, Expr, Expr]:
        """First token of a sequence in the step, its position, and how many there are."""
        tensors = self.tensors
        first = held(tensors.offsets[sequence])
        count = held(tensors.offsets[sequence + 1] - first)
        return first, held(tensors.token_position[T.min(first, tensors.control.tokens - 1)]), count

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

    @staticmethod
    def number(position: Expr, count: Expr, width: Expr) -> Expr:
        """Tiles of `count` tokens from a position on; 0 of none."""
        tiles = (position + count - 1) // width - position // width + 1
        return held(T.if_then_else(count > 0, tiles, T.int32(0)))

    def find(self, rank: Expr) -> tuple[Expr, Expr]:
        """First token and number of tokens of a tile, by its rank in the step."""
        passed, token, count = (scalar(T.int32(0), "int32") for _ in range(3))
        with loop(self.tensors.control.sequences) as sequence:
            first, position, tokens = self.extent(sequence)
            width = self.width(first)
            tiles = self.number(position, tokens, width)
            place = held(rank - passed[0])
            with when(T.And(place >= 0, place < tiles)):
                begin = held(T.max((position // width + place) * width, position))
                token[0] = first + begin - position
                end = T.min((begin // width + 1) * width, position + tokens)
                count[0] = end - begin
            passed[0] = passed[0] + tiles
        return token[0], count[0]


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
            parts[0] = T.max(parts[0], segments(entries, tiles.schedule.segment(spec))[1])
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


def segments(entries: Expr, least: int) -> tuple[Expr, Expr]:
    """Entries of a segment, and how many segments `entries` of a row have.

    `least` entries, or twice as many as often as it takes to have at most `MOST_SEGMENTS`.
    """
    size = scalar(T.int32(least), "int32")
    with T.While(size[0] * MOST_SEGMENTS < entries):
        size[0] = size[0] * 2
    return size[0], held((entries + size[0] - 1) // size[0])
