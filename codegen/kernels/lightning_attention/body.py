"""The statements of the lightning attention kernel; README.md has the mathematics."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from codegen.kernels.lightning_attention.spec import CHUNK, Schedule, Spec
from codegen.kernels.operands import padded
from codegen.kernels.tir import vector
from codegen.kernels.tir.builder import (
    LANES,
    Expr,
    KernelBuilder,
    Tensor,
    choose,
    lanes,
    let,
    long,
    loop,
    splat,
    when,
)
from codegen.kernels.tir.element import Element
from codegen.kernels.tir.ir import T
from codegen.kernels.tir.table import Table
from codegen.kernels.tir.tile import (
    Tile,
    cover_columns,
    cover_rows,
    live_lanes,
    tile,
    zero_tile,
)

F32 = Element.F32

MARGIN = 16
"""Zeros around the decay table: a tile looks up powers of rows and columns outside the chunk."""

SPAN = 2 * CHUNK
"""Table entries of one head: the powers 64, 63, ... 0 of the decay, then zeros."""


def decay_values(spec: Spec) -> list[float]:
    """The powers of every head's decay exp(-slope), computed in float64.

    Entry MARGIN + SPAN * head + CHUNK - n is the n-th power, and 0 for a negative n: this is the
    causal mask of a chunk.
    """
    values = [0.0] * MARGIN
    for slope in spec.slopes:
        values += [math.exp(-slope * n) if n >= 0 else 0.0 for n in range(CHUNK, CHUNK - SPAN, -1)]
    return values + [0.0] * MARGIN


@dataclass(frozen=True, slots=True)
class Parameters:
    """The tensors of a call."""

    offsets: Tensor
    history: Tensor
    slots: Tensor
    q: Tensor
    k: Tensor
    v: Tensor
    state: Tensor
    q_norm: Tensor | None
    k_norm: Tensor | None
    rope: Tensor | None
    out: Tensor
    chunk: Tensor


@dataclass(frozen=True, slots=True)
class Lightning:
    """Emits the kernel."""

    spec: Spec
    schedule: Schedule
    tensors: Parameters

    @classmethod
    def declare(cls, builder: KernelBuilder, spec: Spec, schedule: Schedule) -> "Lightning":
        """Declare the parameters behind `control`."""
        head_dim, heads = spec.head_dim, spec.num_heads
        columns = padded(head_dim)
        rows = {name: (f"{name}_rows", getattr(spec, f"{name}_pitch")) for name in "qkv"}
        norm = (columns,) if spec.norm else None
        tensors = Parameters(
            offsets=builder.tensor("offsets", ("offset_capacity",), "int32"),
            history=builder.tensor("history", ("history_capacity",), "int32"),
            slots=builder.tensor("slots", ("slot_capacity",), "int32"),
            **{name: builder.tensor(name, shape, "float32") for name, shape in rows.items()},
            state=builder.tensor("state", ("state_slots", heads, head_dim, head_dim), "float32"),
            q_norm=builder.tensor("q_norm", norm, "float32") if norm else None,
            k_norm=builder.tensor("k_norm", norm, "float32") if norm else None,
            rope=builder.tensor("rope", ("rope_rows", columns), "float32") if spec.rope else None,
            out=builder.tensor(
                "out", ("out_rows", padded(heads * head_dim)), spec.out_element.dtype
            ),
            chunk=builder.tensor(
                "chunk", ("chunk_workers", schedule.workspace(head_dim)), "float32"
            ),
        )
        return cls(spec, schedule, tensors)

    def item(self, worker: Expr, item: Expr, decay: Table) -> None:
        """Emit the work on one (sequence, head)."""
        heads, tensors = self.spec.num_heads, self.tensors
        sequence, head = let(item // heads), let(item % heads)
        start = let(tensors.offsets[sequence])
        count = let(tensors.offsets[sequence + 1] - start)
        work = _Item(
            self.spec,
            self.schedule,
            tensors,
            decay,
            worker,
            head,
            let(long(tensors.slots[sequence])),
        )
        with when(tensors.history[sequence] == 0):
            work.clear_state()
        choose(count == 1, lambda: work.step(start), lambda: work.chunks(start, count))
        with when(head == heads - 1):
            work.clear_padding(start, count)


@dataclass(frozen=True, slots=True)
class _Item:
    """One head of one sequence.

    The workspace of a worker holds, with `columns` = head_dim padded to 16: prepared queries
    [rows, columns]; keys, decayed to the end of the chunk [64, columns]; keys transposed
    [columns, 64]; values [64, columns]; scores [rows, 64].
    """

    spec: Spec
    schedule: Schedule
    tensors: Parameters
    decay: Table
    worker: Expr
    head: Expr
    slot: Expr

    @property
    def columns(self) -> int:
        return padded(self.spec.head_dim)

    @property
    def kv_head(self) -> Expr:
        return self.head // (self.spec.num_heads // self.spec.kv_heads)

    @property
    def keys_at(self) -> int:
        return self.schedule.rows * self.columns

    @property
    def transposed_at(self) -> int:
        return self.keys_at + CHUNK * self.columns

    @property
    def values_at(self) -> int:
        return self.transposed_at + CHUNK * self.columns

    @property
    def scores_at(self) -> int:
        return self.values_at + CHUNK * self.columns

    def power(self, exponent: Expr) -> Expr:
        """The decay to the power `exponent` <= 64; 0 for a negative one."""
        return splat(self.decay[self.head * SPAN + (CHUNK + MARGIN) - exponent])

    def powers(self, exponent: Expr) -> Expr:
        """The decay to the powers exponent, exponent - 1, ... exponent - 15."""
        return self.decay.vector(self.head * SPAN + (CHUNK + MARGIN) - exponent)

    def chunk_spread(self, position: Expr) -> Expr:
        return F32.spread(self.tensors.chunk, self.worker, position)

    def chunk_vector(self, position: Expr) -> Expr:
        return F32.operand(self.tensors.chunk, self.worker, position)

    def keep(self, position: Expr, value: Expr) -> None:
        self.tensors.chunk[self.worker, lanes(position)] = value

    def state(self, row: Expr, column: Expr, live: int) -> Expr:
        return let(F32.load(self.tensors.state, self.slot, self.head, row, column, count=live))

    def set_state(self, row: Expr, column: Expr, value: Expr, live: int) -> None:
        place = (self.slot, self.head, row, column)
        F32.store(self.tensors.state, *place, value=value, count=live)

    def set_out(self, row: Expr, column: Expr, value: Expr, live: int) -> None:
        place = (row, self.head * self.spec.head_dim + column)
        self.spec.out_element.store(self.tensors.out, *place, value=value, count=live)

    def clear_state(self) -> None:
        """Emit a start from zero."""
        with loop(self.spec.head_dim) as row:
            for column, live in live_lanes(self.spec.head_dim):
                self.set_state(row, column, splat(0.0), live)

    def clear_padding(self, start: Expr, count: Expr) -> None:
        """Emit zeros into the columns that pad the rows of the output."""
        used = self.spec.num_heads * self.spec.head_dim
        if used < padded(used):
            element, live = self.spec.out_element, padded(used) - used
            with loop(count) as row:
                element.store(self.tensors.out, start + row, used, value=splat(0.0), count=live)

    def prepare(self, row: Expr, place: Expr) -> None:
        """Emit norm and rotation of the query and the key of a token, kept as rows `place`."""
        spec, tensors = self.spec, self.tensors
        query = spec.q_start + self.head * spec.head_dim
        key = spec.k_start + self.kv_head * spec.head_dim
        self._prepare(tensors.q, row, query, tensors.q_norm, spec.scale, place * self.columns)
        self._prepare(
            tensors.k, row, key, tensors.k_norm, None, self.keys_at + place * self.columns
        )

    def _prepare(
        self,
        source: Tensor,
        row: Expr,
        start: Expr,
        weight: Tensor | None,
        scale: float | None,
        position: Expr,
    ) -> None:
        pieces = live_lanes(self.spec.head_dim)
        values = [let(F32.load(source, row, start + c, count=live)) for c, live in pieces]
        if weight is not None:
            factor = splat(self._inverse_norm(values))
            values = [
                x * factor * weight[lanes(c)] for x, (c, _) in zip(values, pieces, strict=True)
            ]
        if scale is not None:
            values = [x * splat(scale) for x in values]
        for (column, _), value in zip(pieces, values, strict=True):
            self.keep(position + column, value)
        if self.tensors.rope is not None:
            self._rotate(self.tensors.rope, row, position)

    def _inverse_norm(self, values: Sequence[Expr]) -> Expr:
        squares = zero_tile(1, 1)
        for value in values:
            squares[0, 0] = vector.fma(value, value, squares[0, 0])
        mean = vector.total(squares[0, 0]) * T.float32(1.0 / self.spec.head_dim)
        return let(T.float32(1.0) / T.sqrt(mean + T.float32(self.spec.eps)))

    def _rotate(self, table: Tensor, row: Expr, position: Expr) -> None:
        half, chunk = self.spec.head_dim // 2, self.tensors.chunk
        for column, live in live_lanes(half):
            low, high = position + column, position + half + column
            x = let(F32.load(chunk, self.worker, low, count=live))
            y = let(F32.load(chunk, self.worker, high, count=live))
            cosine = let(F32.load(table, row, column, count=live))
            sine = let(F32.load(table, row, half + column, count=live))
            rotated = let(x * cosine - y * sine), let(y * cosine + x * sine)
            F32.store(chunk, self.worker, low, value=rotated[0], count=live)
            F32.store(chunk, self.worker, high, value=rotated[1], count=live)

    def step(self, row: Expr) -> None:
        """Emit one token: the state is read and written once, nothing else is large."""
        spec = self.spec
        self.prepare(row, 0)
        decay = let(self.power(1))
        start = spec.v_start + self.kv_head * spec.head_dim

        def columns(first: Expr, live: Sequence[int]) -> None:
            out = zero_tile(1, len(live))
            places = [(first + j) * LANES for j in range(len(live))]
            values = [
                let(F32.load(self.tensors.v, row, start + place, count=count))
                for place, count in zip(places, live, strict=True)
            ]
            with loop(spec.head_dim) as a:
                query = self.chunk_spread(a)
                key = self.chunk_spread(self.keys_at + a)
                for j, (place, count) in enumerate(zip(places, live, strict=True)):
                    state = let(vector.fma(decay, self.state(a, place, count), key * values[j]))
                    self.set_state(a, place, state, count)
                    out[0, j] = vector.fma(query, state, out[0, j])
            for j, (place, count) in enumerate(zip(places, live, strict=True)):
                self.set_out(row, place, out[0, j], count)

        cover_columns(spec.head_dim, self.schedule.step_vectors, columns)

    def chunks(self, start: Expr, count: Expr) -> None:
        """Emit all chunks of 64 tokens from row `start` on."""
        with loop((count + CHUNK - 1) // CHUNK) as turn:
            done = let(turn * CHUNK)
            self.chunk(let(start + done), let(T.min(count - done, T.int32(CHUNK))))

    def chunk(self, start: Expr, count: Expr) -> None:
        """Emit one chunk of `count` <= 64 tokens."""
        height = self.schedule.row_tile
        self._gather(start, count)
        with loop((count + height - 1) // height) as turn:
            top = let(turn * height)
            self._scores(top)
            cover_columns(
                self.spec.head_dim,
                self.schedule.column_vectors,
                lambda first, live: self._outputs(start, count, top, first, live),
            )
        whole = let(self.power(count))
        cover_columns(
            self.spec.head_dim,
            self.schedule.column_vectors,
            lambda first, live: self._update(count, whole, first, live),
        )

    def _gather(self, start: Expr, count: Expr) -> None:
        spec, columns = self.spec, self.columns
        value_start = spec.v_start + self.kv_head * spec.head_dim
        chunk = self.tensors.chunk
        with loop(count) as r:
            self.prepare(start + r, r)
            key = let(self.keys_at + r * columns)
            with loop(spec.head_dim) as a:
                chunk[self.worker, self.transposed_at + a * CHUNK + r] = chunk[self.worker, key + a]
            to_end = let(self.power(count - 1 - r))
            for column, live in live_lanes(spec.head_dim):
                self.keep(key + column, self.chunk_vector(key + column) * to_end)
                value = F32.load(self.tensors.v, start + r, value_start + column, count=live)
                self.keep(self.values_at + r * columns + column, value)

    def _scores(self, top: Expr) -> None:
        """Emit lambda^(i - j) q_i . k_j for the rows from `top` on, 0 above the diagonal."""
        height, width = self.schedule.row_tile, self.schedule.column_vectors
        last = T.min((top + height - 1) // (LANES * width) + 1, T.int32(CHUNK // (LANES * width)))
        with loop(last) as turn:
            left = let(turn * (LANES * width))
            scores = zero_tile(height, width)
            scores.accumulate(
                F32,
                self.spec.head_dim,
                lambda i, a: self.chunk_spread((top + i) * self.columns + a),
                lambda j, a: self.chunk_vector(self.transposed_at + a * CHUNK + left + j * LANES),
            )
            for i in range(height):
                for j in range(width):
                    place = self.scores_at + (top + i) * CHUNK + left + j * LANES
                    distance = top + i - (left + j * LANES)
                    self.keep(place, scores[i, j] * self.powers(distance))

    def _outputs(
        self, start: Expr, count: Expr, top: Expr, first: Expr, live: Sequence[int]
    ) -> None:
        height = self.schedule.row_tile
        places = [let((first + j) * LANES) for j in range(len(live))]
        out = zero_tile(height, len(live))
        out.accumulate(
            F32,
            self.spec.head_dim,
            lambda i, a: self.chunk_spread((top + i) * self.columns + a),
            lambda j, a: self.state(a, places[j], live[j]),
        )
        for i in range(height):
            since_start = let(self.power(top + i + 1))
            for j in range(len(live)):
                out[i, j] = out[i, j] * since_start
        out.accumulate(
            F32,
            T.min(top + height, count),
            lambda i, r: self.chunk_spread(self.scores_at + (top + i) * CHUNK + r),
            lambda j, r: self.chunk_vector(self.values_at + r * self.columns + places[j]),
        )
        for i in range(height):
            with when(top + i < count):
                for j, place in enumerate(places):
                    self.set_out(start + top + i, place, out[i, j], live[j])

    def _update(self, count: Expr, whole: Expr, first: Expr, live: Sequence[int]) -> None:
        places = [let((first + j) * LANES) for j in range(len(live))]

        def rows(top: Expr, height: int) -> None:
            state: Tile = tile(height, len(live))
            state.fill(lambda i, j: self.state(top + i, places[j], live[j]) * whole)
            state.accumulate(
                F32,
                count,
                lambda i, r: self.chunk_spread(self.keys_at + r * self.columns + top + i),
                lambda j, r: self.chunk_vector(self.values_at + r * self.columns + places[j]),
            )
            for i in range(height):
                for j, place in enumerate(places):
                    self.set_state(top + i, place, state[i, j], live[j])

        cover_rows(self.spec.head_dim, self.schedule.row_tile, rows)


__all__ = ["CHUNK", "Lightning", "decay_values"]
