"""The queries that are answered together, and the memory of a worker for them."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.attend_latents.cpu.past_rows import SelectedTokens
from sala_compile.codegen.kernels.attend_latents.cpu.schedule import Schedule
from sala_compile.codegen.kernels.attend_latents.spec import Spec
from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Expr,
    Tensor,
    Tensors,
    lanes,
    let,
    loop,
    scratch,
)
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.tile import live_lanes
from sala_compile.codegen.layouts.padding import padded

MASKED = -1e30
"""The score of a token that may not be read: below every other, and its exponential is 0."""


@dataclass(frozen=True, slots=True)
class Record:
    """A partial result of a tile: outputs [rows, columns], then maxima and sums [rows].

    The columns are in the order in which `values` stages them.
    """

    tensor: Tensor
    row: tuple[Expr, ...]
    start: Expr
    rows: int
    columns: int

    def output(self, row: Expr, column: Expr) -> Expr:
        """16 floats of the output of a row."""
        return self.tensor[(*self.row, lanes(self.start + row * self.columns + column))]

    def set_output(self, row: Expr, column: Expr, value: Expr) -> None:
        """Emit a write of 16 floats of the output of a row."""
        self.tensor[(*self.row, lanes(self.start + row * self.columns + column))] = value

    def number(self, which: int, row: Expr) -> Expr:
        """The maximum (0) or the sum (1) of a row."""
        return self.tensor[(*self.row, self._number(which, row))]

    def numbers(self, which: int, row: Expr) -> Expr:
        """The maxima (0) or the sums (1) of 16 rows."""
        return self.tensor[(*self.row, lanes(self._number(which, row)))]

    def set_numbers(self, which: int, row: Expr, value: Expr) -> None:
        """Emit a write of them."""
        self.tensor[(*self.row, lanes(self._number(which, row)))] = value

    def _number(self, which: int, row: Expr) -> Expr:
        return self.start + self.rows * (self.columns + which) + row


@dataclass(frozen=True, slots=True)
class LatentQueries:
    """The rows (token, head) of `count` tokens from `token` on, the first at `position`.

    Of a selection, `past` lists the tokens that the one query reads, and positions are places in
    that list.

    A token has whole vectors of rows, `width` in all; those after the last head are zeros. In the
    memory of a worker, with R rows and S tokens of a tile: scores [S, R], a record of the segment,
    one of all segments so far, factors [R]; queries [columns / p, R, p] and probabilities [S / p,
    R, p] as packs of p elements.
    """

    spec: Spec
    schedule: Schedule
    tensors: Tensors
    worker: Expr
    token: Expr
    count: Expr
    position: Expr
    table_row: Expr
    entries: Expr
    past: SelectedTokens | None

    @property
    def width(self) -> int:
        return self.schedule.head_vectors(self.spec) * LANES

    @property
    def all_rows(self) -> int:
        return self.schedule.rows(self.spec)

    @property
    def last(self) -> Expr:
        """The position of the last token."""
        return self.position + self.count - 1

    def score(self, token: Expr, row: Expr) -> Expr:
        """Where the scores of a token of the tile for 16 rows are."""
        return token * self.all_rows + row

    def floats(self, place: Expr) -> Expr:
        return self.tensors.scores[self.worker, lanes(place)]

    def keep(self, place: Expr, value: Expr) -> None:
        self.tensors.scores[self.worker, lanes(place)] = value

    @property
    def current(self) -> Record:
        """The record of the segment that is read."""
        return self._record(0)

    @property
    def joined(self) -> Record:
        """The record of all segments so far."""
        return self._record(1)

    @property
    def factors(self) -> int:
        """Where the factors of the outputs of the rows are."""
        schedule, spec = self.schedule, self.spec
        return self.all_rows * schedule.tokens(spec) + 2 * schedule.record(spec)

    def query(self, pack: Expr, row: Expr) -> Expr:
        """Where a pack of the queries of 16 rows begins among the operands."""
        return (pack * self.all_rows + row) * self.spec.element.pack

    def probability(self, pack: Expr, row: Expr) -> Expr:
        """Where a pack of the probabilities of 16 rows begins among the operands."""
        start = self.all_rows * self.spec.columns
        return start + (pack * self.all_rows + row) * self.spec.element.pack

    def load_queries(self) -> None:
        """Emit the queries as packs, those of a pack side by side; the rotary part is rounded."""
        spec, tensors = self.spec, self.tensors
        pack, latent = spec.element.pack, spec.latent_dim
        turned = None
        if spec.rotary_dim:
            turned = scratch((padded(spec.rotary_dim),), spec.element.dtype)
        with loop(self.count) as query:
            token = let(self.token + query)
            with loop(self.width - spec.num_heads) as beyond, loop(spec.columns) as k:
                row = let(query * self.width + spec.num_heads + beyond)
                zero = T.Cast(spec.element.dtype, T.int32(0))
                tensors.operands[self.worker, self.query(k // pack, row) + k % pack] = zero
            with loop(latent // pack) as k, loop(spec.num_heads) as head:
                row, start = let(query * self.width + head), spec.absorbed_start + head * latent
                self._set_pack(k, row, tensors.absorbed, let(start + k * pack), token)
            if turned is not None:
                with loop(spec.num_heads) as head:
                    self._load_rotary(turned, token, head, let(query * self.width + head))

    def _load_rotary(self, turned: Tensor, token: Expr, head: Expr, row: Expr) -> None:
        """Emit the packs of the rotary part of a head, rounded in `turned`."""
        spec, pack = self.spec, self.spec.element.pack
        begin = spec.q_start + head * (spec.key_dim + spec.rotary_dim) + spec.key_dim
        for column, live in live_lanes(spec.rotary_dim):
            value = Element.F32.load(self.tensors.q, token, begin + column, count=live)
            spec.element.store(turned, column, value=value)
        with loop(spec.rotary_dim // pack) as k:
            self._set_pack(let(spec.latent_dim // pack + k), row, turned, k * pack)

    def _set_pack(self, pack: Expr, row: Expr, source: Tensor, column: Expr, *outer: Expr) -> None:
        """Emit the copy of a pack of a row from its place in `source`: `outer`, then `column`."""
        place, size = self.query(pack, row), self.spec.element.pack
        operands = self.tensors.operands
        if size == 1:
            operands[self.worker, place] = source[(*outer, column)]
        else:
            operands[self.worker, lanes(place, 2)] = source[(*outer, lanes(column, 2))]

    def _record(self, index: int) -> Record:
        schedule, spec = self.schedule, self.spec
        start = self.all_rows * schedule.tokens(spec) + index * schedule.record(spec)
        columns = schedule.out_columns(spec)
        return Record(self.tensors.scores, (self.worker,), start, self.all_rows, columns)
