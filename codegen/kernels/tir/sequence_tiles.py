"""Tiles of the new tokens of a step: tokens of one sequence that are answered together."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.tir.builder import Expr, Tensors, held, loop, scalar, when
from sala_compile.codegen.kernels.tir.ir import T


@dataclass(frozen=True, slots=True)
class SequenceTiles:
    """A tile ends at a position that is a multiple of its `width`, or with the last token."""

    tensors: Tensors

    def width(self, first: Expr) -> Expr:
        """Tokens of a whole tile of the sequence whose first token is `first`."""
        raise NotImplementedError

    def extent(self, sequence: Expr) -> tuple[Expr, Expr, Expr]:
        """First token of a sequence in the step, its position, and how many there are."""
        tensors = self.tensors
        first = held(tensors.offsets[sequence])
        count = held(tensors.offsets[sequence + 1] - first)
        return first, held(tensors.token_position[T.min(first, tensors.control.tokens - 1)]), count

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


def segments(entries: Expr, least: int, most: int) -> tuple[Expr, Expr]:
    """Entries of a segment, and how many segments `entries` of a row have.

    `least` entries, or twice as many as often as it takes to have at most `most` segments.
    """
    size = scalar(T.int32(least), "int32")
    with T.While(size[0] * most < entries):
        size[0] = size[0] * 2
    return size[0], held((entries + size[0] - 1) // size[0])


def segments_at_most(entries: Expr, least: int, most: int) -> Expr:
    """The most segments of a row of up to `entries` entries: shorter rows may have more of them."""
    return held(T.min((entries + (least - 1)) // least, T.int32(most)))
