"""The statements of the block selection kernel; README.md has the mathematics."""

from collections.abc import Callable
from dataclasses import dataclass

from codegen.kernels.operands import padded
from codegen.kernels.pages import CompressedLevel, page_of
from codegen.kernels.select_blocks.spec import Schedule, Spec
from codegen.kernels.tir import vector
from codegen.kernels.tir.builder import (
    LANES,
    Control,
    Expr,
    KernelBuilder,
    Tensor,
    choose,
    lanes,
    let,
    loop,
    prefetch_far,
    registers,
    scalar,
    splat,
    when,
)
from codegen.kernels.tir.element import Element
from codegen.kernels.tir.ir import T
from codegen.kernels.tir.tile import Tile, cover_rows, live_lanes, zero_tile

F32 = Element.F32

MASKED = -1e30
"""The logit of a key that is not visible: its exponential is 0."""

DENSE = -1
"""The count of a query in the dense regime; also what fills unused entries of the lists."""

SCORE_BITS = 31
"""Bits of a float that is not negative; as integers such floats keep their order."""

MAGNITUDE = 2**SCORE_BITS - 1
"""Clears the sign, which only a NaN can have: every list is complete, whatever the inputs."""


@dataclass(frozen=True, slots=True)
class Select:
    """Emits the kernel; the fields from `control` on are the parameters."""

    spec: Spec
    schedule: Schedule
    control: Control
    token_sequence: Tensor
    token_position: Tensor
    call_lengths: Tensor
    slots: Tensor
    compressed_table: Tensor
    q: Tensor
    fine: Tensor
    coarse: Tensor
    blocks: Tensor
    counts: Tensor
    floats: Tensor
    ranks: Tensor
    queries: Tensor

    @classmethod
    def declare(cls, builder: KernelBuilder, spec: Spec, schedule: Schedule) -> "Select":
        """Declare the parameters."""
        heads, element = spec.kv_heads, spec.element
        sizes = {"kv_heads": heads, "head_dim": spec.head_dim, "element": element}
        fine, coarse = spec.levels
        queries = ("query_workers", schedule.queries(spec))
        return cls(
            spec=spec,
            schedule=schedule,
            control=builder.control(),
            token_sequence=builder.tensor("token_sequence", ("sequence_rows",), "int32"),
            token_position=builder.tensor("token_position", ("position_rows",), "int32"),
            call_lengths=builder.tensor("call_lengths", ("call_capacity",), "int32"),
            slots=builder.tensor("slots", ("slot_capacity",), "int32"),
            compressed_table=builder.tensor(
                "compressed_table", ("table_rows", "table_columns"), "int32"
            ),
            q=builder.tensor("q", ("q_rows", spec.q_pitch), "float32"),
            fine=fine.declare(builder, **sizes),
            coarse=coarse.declare(builder, **sizes),
            blocks=builder.tensor("blocks", ("block_rows", heads, spec.budget), "int32"),
            counts=builder.tensor("counts", ("count_rows", heads), "int32"),
            floats=builder.tensor("scores", ("score_workers", "score_columns"), "float32"),
            ranks=builder.tensor("ranks", ("rank_workers", "rank_columns"), "int32"),
            queries=builder.tensor("queries", queries, schedule.product(spec).dtype),
        )

    def item(self, worker: Expr, item: Expr) -> None:
        """Emit the selection for one kv head of one token."""
        spec = self.spec
        token, head = let(item // spec.kv_heads), let(item % spec.kv_heads)
        sequence = let(self.token_sequence[token])
        position = let(self.token_position[token])
        own = let(position // spec.block_size)
        work = _Item(self, worker, token, head, let(self.slots[sequence]), position, own)

        def sparse() -> None:
            choose(own < spec.budget, lambda: work.take_all(own + 1, own + 1), work.rank)

        choose(
            self.call_lengths[sequence] < spec.dense_len,
            lambda: work.take_all(0, DENSE),
            sparse,
        )


@dataclass(frozen=True, slots=True)
class _Item:
    """One query: all heads of a group at a position.

    The float workspace of a worker holds the heads' maxima [rows, 16], their sums [rows, 16], and
    the scores of the fine keys by slot; the integer one the scores of the blocks that compete.
    """

    kernel: Select
    worker: Expr
    token: Expr
    head: Expr
    table_row: Expr
    position: Expr
    own_block: Expr

    @property
    def spec(self) -> Spec:
        return self.kernel.spec

    @property
    def schedule(self) -> Schedule:
        return self.kernel.schedule

    @property
    def sums_at(self) -> int:
        return self.schedule.rows(self.spec) * LANES

    @property
    def scores_at(self) -> int:
        return self.schedule.heads_floats(self.spec)

    @property
    def first_competing(self) -> int:
        return self.spec.init_blocks

    @property
    def first_local(self) -> Expr:
        return self.own_block - self.spec.window_blocks

    def floats(self, place: Expr) -> Expr:
        return self.kernel.floats[self.worker, lanes(place)]

    def keep(self, place: Expr, value: Expr) -> None:
        self.kernel.floats[self.worker, lanes(place)] = value

    def list_block(self, place: Expr, block: Expr) -> None:
        self.kernel.blocks[self.token, self.head, place] = block

    def take_all(self, used: Expr, count: Expr) -> None:
        """Emit the list of the first `used` blocks."""
        with loop(self.spec.budget) as entry:
            self.list_block(entry, T.Select(entry < used, entry, T.int32(DENSE)))
        self.kernel.counts[self.token, self.head] = count

    def rank(self) -> None:
        """Emit scoring and choice."""
        competing = let(self.first_local - self.first_competing)
        if self.spec.chosen:
            self._load_queries()
            self._normalisers()
            self._score_fine_keys()
            self._score_blocks(competing)
            self._list_chosen(competing, let(self._threshold(competing)))
        self._list_forced()
        self.kernel.counts[self.token, self.head] = T.int32(self.spec.budget)

    def _load_queries(self) -> None:
        spec, size, product = self.spec, self.spec.head_dim, self.schedule.product(self.spec)
        with loop(spec.group) as row:
            start = let(spec.q_start + (self.head * spec.group + row) * size)
            for column, live in live_lanes(size):
                query = F32.load(self.kernel.q, self.token, start + column, count=live)
                place = row * padded(size) + column
                product.keep(self.kernel.queries, self.worker, place, value=query)

    def _tiles(
        self, level: CompressedLevel, pool: Tensor, slots: Expr, body: Callable[..., None]
    ) -> None:
        """Emit `body(first slot, scores)` for tiles that cover `slots` slots of a level.

        `scores(top, height)` emits scale * q . k of some heads with the keys of the tile.
        """
        spec, element = self.spec, self.spec.element
        vectors = self.schedule.vectors(level)
        width = vectors * LANES
        with loop((slots + (width - 1)) // width) as turn:
            first = let(turn * width)
            page, left = self._place(level, first)
            ahead = self._place(level, let(T.min(first + width, slots - 1)))

            def scores(top: Expr, height: int) -> Tile:
                products = zero_tile(height, vectors)
                self.schedule.product(spec).accumulate(
                    products,
                    spec.head_dim // element.pack,
                    self.kernel.queries,
                    lambda i: (self.worker, (top + i) * padded(spec.head_dim)),
                    lambda j, d: element.operand(pool, page, self.head, d, left + j * LANES, 0),
                    lambda d: self._fetch(pool, ahead, d, top, vectors),
                )
                return products

            body(first, scores)

    def _place(self, level: CompressedLevel, slot: Expr) -> tuple[Expr, Expr]:
        """Page and place in the page of a slot of the sequence."""
        page = page_of(self.kernel.compressed_table, self.table_row, slot // level.slots)
        return page, let(slot % level.slots)

    def _fetch(
        self, pool: Tensor, place: tuple[Expr, Expr], pack: Expr, top: Expr, vectors: int
    ) -> None:
        """Emit the prefetch of a share of the next tile's keys: a vector of packs is a line.

        The row tiles of the running product deal the vectors out among themselves.
        """
        page, left = place
        share = -(-vectors * self.schedule.row_tile // self.schedule.rows(self.spec))
        first = top // self.schedule.row_tile * share
        for line in range(share):
            slot = left + (first + line) * LANES
            prefetch_far(pool, page, self.head, pack, slot, 0)

    def _normalisers(self) -> None:
        """Emit maximum and inverse sum of exponentials over the visible coarse keys, per head.

        Lane by lane over all tiles, folded at the end. Without a visible key the inverse is 0.
        """
        spec = self.spec
        _, level = spec.levels
        visible = let(level.complete(self.position + 1))
        with loop(spec.group) as row:
            self.keep(row * LANES, splat(MASKED))
            self.keep(self.sums_at + row * LANES, splat(0.0))

        def tile(first: Expr, scores: Callable[[Expr, int], Tile]) -> None:
            def rows(top: Expr, height: int) -> None:
                found = scores(top, height)
                for i in range(height):
                    logits = [
                        let(_between(found[i, j] * splat(spec.scale), first + j * LANES, visible))
                        for j in range(found.vectors)
                    ]
                    self._add_logits(top + i, logits)

            cover_rows(spec.group, self.schedule.row_tile, rows)

        self._tiles(level, self.kernel.coarse, visible + 1, tile)
        with loop(spec.group) as row:
            maxima = let(self.floats(row * LANES))
            largest = let(splat(vector.largest(maxima)))
            sums = self.floats(self.sums_at + row * LANES) * vector.exp(maxima - largest)
            total = let(vector.total(sums))
            inverse = T.Select(visible > 0, T.float32(1.0) / total, T.float32(0.0))
            self.keep(self.sums_at + row * LANES, splat(inverse))
            any_visible = T.Select(visible > 0, T.float32(1.0), T.float32(0.0))
            self.keep(row * LANES, largest * splat(any_visible))

    def _add_logits(self, row: Expr, logits: list[Expr]) -> None:
        before = let(self.floats(row * LANES))
        largest = registers(1)
        largest[0] = before
        for logit in logits:
            largest[0] = vector.maximum(largest[0], logit)
        now = let(largest[0])
        total = self.floats(self.sums_at + row * LANES) * vector.exp(before - now)
        for logit in logits:
            total = let(total + vector.exp(logit - now))
        self.keep(row * LANES, now)
        self.keep(self.sums_at + row * LANES, total)

    def _score_fine_keys(self) -> None:
        """Emit P by slot, up to the last slot that a competing block looks at."""
        spec = self.spec
        level, _ = spec.levels
        visible = let(level.complete(self.position + 1))

        def tile(first: Expr, scores: Callable[[Expr, int], Tile]) -> None:
            vectors = self.schedule.vectors(level)
            sums = registers(vectors).fill(vectors)

            def rows(top: Expr, height: int) -> None:
                found = scores(top, height)
                for i in range(height):
                    largest = let(self.floats((top + i) * LANES))
                    inverse = let(self.floats(self.sums_at + (top + i) * LANES))
                    for j in range(vectors):
                        logit = found[i, j] * splat(spec.scale)
                        sums[j] = vector.fma(vector.exp(logit - largest), inverse, sums[j])

            cover_rows(spec.group, self.schedule.row_tile, rows)
            for j in range(vectors):
                place = first + j * LANES
                score = _between(sums[j], place, visible, outside=0.0)
                self.keep(self.scores_at + place, score)

        slots = self.first_local * spec.ratio + 1
        self._tiles(level, self.kernel.fine, slots, tile)

    def _score_blocks(self, competing: Expr) -> None:
        """Emit the largest score of the windows that overlap a block, as an integer."""
        ratio = self.spec.ratio
        with loop(competing) as index:
            start = let(self.scores_at + (self.first_competing + index) * ratio)
            best = self.kernel.floats[self.worker, start]
            for offset in range(1, ratio + 1):
                best = T.max(best, self.kernel.floats[self.worker, start + offset])
            bits = T.bitwise_and(T.reinterpret(best, dtype="int32"), T.int32(MAGNITUDE))
            self.kernel.ranks[self.worker, index] = bits
        self.kernel.ranks[self.worker, lanes(competing)] = _integers(-1)

    def _threshold(self, competing: Expr) -> Expr:
        """Emit the search for the largest rank that at least `chosen` blocks reach.

        One bit a step from the highest down, counting the blocks at or above the candidate.
        """
        found = scalar(T.int32(0), "int32")
        with loop(SCORE_BITS) as step:
            candidate = let(found[0] + T.shift_left(T.int32(1), SCORE_BITS - 1 - step))
            count = self._count_from(competing, candidate)
            with when(count >= T.float32(self.spec.chosen)):
                found[0] = candidate
        return found[0]

    def _count_from(self, competing: Expr, rank: Expr) -> Expr:
        """Emit how many blocks have at least this rank, as a float."""
        hits = registers(1, "int32")
        hits[0] = _integers(0)
        wanted = let(splat(rank))
        with loop((competing + (LANES - 1)) // LANES) as v:
            ranks = self.kernel.ranks[self.worker, lanes(v * LANES)]
            hits[0] = hits[0] + T.Select(ranks >= wanted, _integers(1), _integers(0))
        return let(vector.total(T.Cast(f"float32x{LANES}", hits[0])))

    def _list_forced(self) -> None:
        """Emit the initial blocks and the local ones."""
        spec = self.spec
        for block in range(spec.init_blocks):
            self.list_block(block, T.int32(block))
        with loop(spec.window_blocks + 1) as index:
            self.list_block(spec.init_blocks + spec.chosen + index, self.first_local + index)

    def _list_chosen(self, competing: Expr, threshold: Expr) -> None:
        """Emit the blocks above the threshold, and of those at it the first ones, ascending."""
        above = self._count_from(competing, threshold + 1)
        ties = scalar(T.int32(self.spec.chosen) - T.Cast("int32", above), "int32")
        place = scalar(T.int32(self.spec.init_blocks), "int32")
        with loop(competing) as index:
            rank = let(self.kernel.ranks[self.worker, index])

            def take() -> None:
                self.list_block(place[0], self.first_competing + index)
                place[0] = place[0] + 1

            with when(rank > threshold):
                take()
            with when(T.And(rank == threshold, ties[0] > 0)):
                take()
                ties[0] = ties[0] - 1


def _between(values: Expr, slot: Expr, visible: Expr, *, outside: float = MASKED) -> Expr:
    """`values` of the 16 keys from slot `slot` on that are visible: slots 1 to `visible`."""
    other = splat(outside)
    return vector.first_lanes(
        other, 1 - slot, vector.first_lanes(values, visible + 1 - slot, other)
    )


def _integers(value: int) -> Expr:
    return splat(T.int32(value))
