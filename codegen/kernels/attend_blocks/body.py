"""The statements of the block attention kernel; README.md has the mathematics."""

from collections.abc import Sequence
from dataclasses import dataclass

from codegen.kernels.attend_blocks.fetch import PageFetch
from codegen.kernels.attend_blocks.spec import Schedule, Spec
from codegen.kernels.operands import padded
from codegen.kernels.pages import page_of
from codegen.kernels.tir import vector
from codegen.kernels.tir.builder import (
    LANES,
    Control,
    Expr,
    KernelBuilder,
    Tensor,
    lanes,
    let,
    loop,
    registers,
    scalar,
    scratch,
    splat,
    when,
)
from codegen.kernels.tir.element import Element
from codegen.kernels.tir.ir import T
from codegen.kernels.tir.product import Product
from codegen.kernels.tir.tile import cover_columns, live_lanes, tile, zero_tile

F32 = Element.F32

MASKED = -1e30
"""The score of a key that may not be read: below every other, and its exponential is 0."""


@dataclass(frozen=True, slots=True)
class Attend:
    """Emits the kernel; the fields from `control` on are the parameters."""

    spec: Spec
    schedule: Schedule
    control: Control
    token_sequence: Tensor
    token_position: Tensor
    offsets: Tensor
    slots: Tensor
    page_table: Tensor
    q: Tensor
    k_pool: Tensor
    v_pool: Tensor
    blocks: Tensor | None
    counts: Tensor | None
    gate: Tensor | None
    out: Tensor
    blocks_read: Tensor
    floats: Tensor
    operands: Tensor

    @classmethod
    def declare(cls, builder: KernelBuilder, spec: Spec, schedule: Schedule) -> "Attend":
        """Declare the parameters."""
        heads = spec.kv_heads
        lists = ("block_rows", heads, spec.budget)
        gate = ("gate_rows", spec.gate_pitch)
        width = padded(spec.num_heads * spec.head_dim)
        return cls(
            spec=spec,
            schedule=schedule,
            control=builder.control(),
            token_sequence=builder.tensor("token_sequence", ("sequence_rows",), "int32"),
            token_position=builder.tensor("token_position", ("position_rows",), "int32"),
            offsets=builder.tensor("offsets", ("offset_capacity",), "int32"),
            slots=builder.tensor("slots", ("slot_capacity",), "int32"),
            page_table=builder.tensor("page_table", ("table_rows", "table_columns"), "int32"),
            q=builder.tensor("q", ("q_rows", spec.q_pitch), "float32"),
            k_pool=spec.cache.declare_keys(builder),
            v_pool=spec.cache.declare_values(builder),
            blocks=builder.tensor("blocks", lists, "int32") if spec.budget else None,
            counts=builder.tensor("counts", ("count_rows", heads), "int32")
            if spec.budget
            else None,
            gate=builder.tensor("gate", gate, "float32") if spec.gate else None,
            out=builder.tensor("out", ("out_rows", width), spec.out_element.dtype),
            blocks_read=builder.tensor("blocks_read", ("read_rows", heads), "int32"),
            floats=builder.tensor("scores", ("score_workers", schedule.floats(spec)), "float32"),
            operands=builder.tensor(
                "operands",
                ("operand_workers", schedule.operands(spec)),
                schedule.product(spec).dtype,
            ),
        )

    def item(self, worker: Expr, item: Expr) -> None:
        """Emit the work on one kv head of one token, or of a few tokens in a row."""
        queries = self.schedule.queries(self.spec)
        head = let(item % self.spec.kv_heads)
        first = let(item // self.spec.kv_heads * queries)
        if queries == 1:
            self._take(worker, first, 1, head)
            return
        end = let(T.min(first + queries, self.control.tokens))
        upcoming = scalar(first, "int32")
        with loop(end - first) as index:
            token = let(first + index)
            with when(token == upcoming[0]):
                count = let(self._dense_run(token, end, head))
                upcoming[0] = token + count
                self._take(worker, token, count, head)

    def _dense_run(self, token: Expr, end: Expr, head: Expr) -> Expr:
        """How many tokens from `token` on are dense, of its sequence, before `end`; at least 1."""
        stop = T.min(end, self.offsets[self.token_sequence[token] + 1])
        if self.counts is None:
            return stop - token
        return T.if_then_else(self.counts[token, head] < 0, stop - token, T.int32(1))

    def _take(self, worker: Expr, token: Expr, count: Expr, head: Expr) -> None:
        position = let(self.token_position[token])
        own_block = let((position + count - 1) // self.spec.block_size)
        dense: Expr = None if self.counts is None else let(self.counts[token, head] < 0)
        entries = own_block + 1
        if self.counts is not None:
            entries = T.if_then_else(dense, entries, self.counts[token, head])
        row = let(self.slots[self.token_sequence[token]])
        _Item(self, worker, token, count, head, position, row, dense, let(entries)).emit()


@dataclass(frozen=True, slots=True)
class _Item:
    """The rows (token, head of the group) of `count` tokens from `token` on, for one kv head.

    In the workspaces of a worker, with R rows, S scores to a row of a tile, `columns` = head_dim
    padded to 16: scores [R, S], outputs [R, columns], maxima, sums and factors [R, 16]; queries
    [R, columns] and probabilities [R, S] as elements.
    """

    kernel: Attend
    worker: Expr
    token: Expr
    count: Expr
    head: Expr
    position: Expr
    table_row: Expr
    dense: Expr
    entries: Expr

    @property
    def spec(self) -> Spec:
        return self.kernel.spec

    @property
    def schedule(self) -> Schedule:
        return self.kernel.schedule

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
        return self.kernel.floats[self.worker, lanes(place)]

    def keep(self, place: Expr, value: Expr) -> None:
        self.kernel.floats[self.worker, lanes(place)] = value

    def emit(self) -> None:
        """Emit everything."""
        blocks = self.schedule.blocks(self.spec)
        pages, firsts = scratch((blocks,), "int64"), scratch((blocks,), "int32")
        read = scratch((self.schedule.queries(self.spec),), "int32")
        with loop(self.count) as query:
            read[query] = T.int32(0)
        self._start()
        with loop((self.entries + (blocks - 1)) // blocks) as turn:
            entry = let(turn * blocks)
            live = let(T.min(self.entries - entry, T.int32(blocks)))
            with loop(live) as b:
                self._look_up(entry + b, b, pages, firsts, read)
            with loop(live) as b:
                self._scores(b, let(pages[b]), let(firsts[b]))
            with loop(self.rows) as row:
                self._softmax(row, live)
            following = let(entry + blocks)
            self._add_values(live, following, pages, firsts)
        self._finish(read)

    def _row_tiles(self) -> Expr:
        height = self.schedule.row_tile
        return (self.rows + (height - 1)) // height

    def _start(self) -> None:
        """Emit the rounding of the queries, and empty sums."""
        spec, size = self.spec, self.spec.head_dim
        with loop(self.rows) as row:
            token, head = self._place(row)
            for column, live in live_lanes(size):
                query = F32.load(
                    self.kernel.q, token, spec.q_start + head * size + column, count=live
                )
                place = row * self.columns + column
                self.product.keep(self.kernel.operands, self.worker, place, value=query)
                self.keep(self.outputs_at + place, splat(0.0))
            self.keep(self.maxima_at + row * LANES, splat(MASKED))
            self.keep(self.sums_at + row * LANES, splat(0.0))

    def _place(self, row: Expr) -> tuple[Expr, Expr]:
        """Token and query head of a row."""
        group = self.spec.group
        return let(self.token + row // group), let(self.head * group + row % group)

    def _look_up(
        self, entry: Expr, index: Expr, pages: Tensor, firsts: Tensor, read: Tensor
    ) -> None:
        """Emit page and first position of a block of the tile, and count it as read."""
        block = let(self._block(entry))
        pages[index] = page_of(self.kernel.page_table, self.table_row, block)
        first = let(block * self.spec.block_size)
        firsts[index] = first
        with loop(self.count) as query, when(first <= self.position + query):
            read[query] = read[query] + 1

    def _block(self, entry: Expr) -> Expr:
        """The block of an entry; of the last one for an entry beyond."""
        entry = let(T.min(entry, self.entries - 1))
        if self.kernel.blocks is None:
            return entry
        return T.if_then_else(self.dense, entry, self.kernel.blocks[self.token, self.head, entry])

    def _scores(self, index: Expr, page: Expr, first: Expr) -> None:
        """Emit scale * q . k for all rows and one block; keys that a row may not read: MASKED.

        Meanwhile the block's values are fetched.
        """
        spec, element = self.spec, self.spec.element
        height, size = self.schedule.row_tile, padded(spec.block_size)

        packs = spec.head_dim // element.pack
        fetch = self._fetch(self.kernel.v_pool, page, size, packs)

        def columns(vector_index: Expr, live: Sequence[int], top: Expr) -> None:
            left = let(vector_index * LANES)
            scores = zero_tile(height, len(live))
            self.product.accumulate(
                scores,
                packs,
                self.kernel.operands,
                lambda i: (self.worker, (top + i) * self.columns),
                lambda j, d: element.operand(
                    self.kernel.k_pool, page, self.head, d, left + j * LANES, 0
                ),
                fetch.during(self._tile_index(top, left, size)),
            )
            for i in range(height):
                last = self.position + (top + i) // spec.group - first
                readable = let(T.min(last + 1, T.int32(spec.block_size)) - left)
                place = (top + i) * self.width + index * size + left
                for j in range(len(live)):
                    score = scores[i, j] * splat(spec.scale)
                    score = vector.first_lanes(score, readable - j * LANES, splat(MASKED))
                    self.keep(place + j * LANES, score)

        with loop(self._row_tiles()) as turn:
            top = let(turn * height)
            cover_columns(
                size, self.schedule.column_vectors, lambda first, live: columns(first, live, top)
            )

    def _tile_index(self, top: Expr, left: Expr, columns: int) -> Expr:
        """The number of a register tile among those of a product with `columns` columns."""
        width = self.schedule.column_vectors * LANES
        return top // self.schedule.row_tile * -(-columns // width) + left // width

    def _fetch(self, pool: Tensor, page: Expr, columns: int, packs: int) -> PageFetch:
        """The fetch of a page during a product with `columns` columns and `packs` packs."""
        rows = self.schedule.rows(self.spec) // self.schedule.row_tile
        tiles = rows * -(-columns // (self.schedule.column_vectors * LANES))
        return PageFetch(pool, self.spec.element, page, self.head, tiles, packs)

    def _softmax(self, row: Expr, blocks: Expr) -> None:
        """Emit the running maximum and sum of a row, and the probabilities of the tile."""
        count = blocks * (padded(self.spec.block_size) // LANES)
        scores = row * self.width
        cells = registers(2)
        cells[0] = self.floats(self.maxima_at + row * LANES)
        with loop(count) as v:
            cells[0] = vector.maximum(cells[0], self.floats(scores + v * LANES))
        largest = let(splat(vector.largest(cells[0])))
        factor = let(vector.exp(self.floats(self.maxima_at + row * LANES) - largest))
        cells[1] = self.floats(self.sums_at + row * LANES) * factor
        with loop(count) as v:
            weight = let(vector.exp(self.floats(scores + v * LANES) - largest))
            cells[1] = cells[1] + weight
            place = self.probabilities_at + row * self.width + v * LANES
            self.product.keep(self.kernel.operands, self.worker, place, value=weight)
        self.keep(self.maxima_at + row * LANES, largest)
        self.keep(self.sums_at + row * LANES, cells[1])
        self.keep(self.factors_at + row * LANES, factor)

    def _add_values(self, blocks: Expr, entry: Expr, pages: Tensor, firsts: Tensor) -> None:
        """Emit output = factor * output + probabilities * values; only written values are read.

        Meanwhile the keys of the next tile, which begins at `entry`, are fetched.
        """
        spec, element = self.spec, self.spec.element
        height, size = self.schedule.row_tile, padded(spec.block_size)
        last = let(self.position + self.count - 1)

        def columns(vector_index: Expr, live: Sequence[int], top: Expr) -> None:
            left = let(vector_index * LANES)
            outputs = tile(height, len(live))
            for i in range(height):
                factor = let(self.floats(self.factors_at + (top + i) * LANES))
                place = self.outputs_at + (top + i) * self.columns + left
                for j in range(len(live)):
                    outputs[i, j] = self.floats(place + j * LANES) * factor
            with loop(blocks) as b:
                page = let(pages[b])
                ahead = page_of(self.kernel.page_table, self.table_row, self._block(entry + b))
                packs = -(-spec.block_size // element.pack)
                fetch = self._fetch(self.kernel.k_pool, ahead, self.columns, packs)
                tokens = T.min(last - firsts[b] + 1, T.int32(spec.block_size))
                base = let(self.probabilities_at + b * size)
                self.product.accumulate(
                    outputs,
                    let((tokens + (element.pack - 1)) // element.pack),
                    self.kernel.operands,
                    lambda i, base=base: (self.worker, base + (top + i) * self.width),
                    lambda j, t: element.operand(
                        self.kernel.v_pool, page, self.head, t, left + j * LANES, 0
                    ),
                    fetch.during(self._tile_index(top, left, self.columns)),
                )
            for i in range(height):
                place = self.outputs_at + (top + i) * self.columns + left
                for j in range(len(live)):
                    self.keep(place + j * LANES, outputs[i, j])

        with loop(self._row_tiles()) as turn:
            top = let(turn * height)
            cover_columns(
                self.columns,
                self.schedule.column_vectors,
                lambda first, live: columns(first, live, top),
            )

    def _finish(self, read: Tensor) -> None:
        """Emit the normalised, gated output, zeros behind the last head, and the counters."""
        spec, kernel, size = self.spec, self.kernel, self.spec.head_dim
        with loop(self.rows) as row:
            token, head = self._place(row)
            total = vector.total(self.floats(self.sums_at + row * LANES))
            factor = let(splat(T.float32(1.0) / total))
            for column, live in live_lanes(size):
                value = self.floats(self.outputs_at + row * self.columns + column) * factor
                if kernel.gate is not None:
                    place = (token, spec.gate_start + head * size + column)
                    gate = F32.load(kernel.gate, *place, count=live)
                    value = value * vector.sigmoid(gate)
                place = (token, head * size + column)
                spec.out_element.store(kernel.out, *place, value=value, count=live)
        with loop(self.count) as query:
            kernel.blocks_read[self.token + query, self.head] = read[query]
        used = spec.num_heads * size
        if used < padded(used):
            with when(self.head == spec.kv_heads - 1), loop(self.count) as query:
                place = (self.token + query, used)
                live = padded(used) - used
                spec.out_element.store(kernel.out, *place, value=splat(0.0), count=live)
