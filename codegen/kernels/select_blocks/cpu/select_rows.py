"""The statements of the block selection kernel; README.md has the mathematics."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.select_blocks.cpu.key_products import KeyProducts
from sala_compile.codegen.kernels.select_blocks.cpu.threshold_choice import Choice
from sala_compile.codegen.kernels.select_blocks.cpu.window_scores import Scores
from sala_compile.codegen.kernels.select_blocks.spec import Schedule, Spec
from sala_compile.codegen.kernels.tir.builder import (
    Control,
    Expr,
    KernelBuilder,
    Tensor,
    choose,
    let,
    loop,
)
from sala_compile.codegen.kernels.tir.ir import T

DENSE = -1
"""The count of a query in the dense regime; also what fills unused entries of the lists."""


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

        def rank() -> None:
            self._rank(worker, token, head, let(self.slots[sequence]), position, own)

        def sparse() -> None:
            choose(own < spec.budget, lambda: self._take_all(token, head, own + 1, own + 1), rank)

        choose(
            self.call_lengths[sequence] < spec.dense_len,
            lambda: self._take_all(token, head, 0, DENSE),
            sparse,
        )

    def _take_all(self, token: Expr, head: Expr, used: Expr, count: Expr) -> None:
        """Emit the list of the first `used` blocks."""
        with loop(self.spec.budget) as entry:
            self.blocks[token, head, entry] = T.Select(entry < used, entry, T.int32(DENSE))
        self.counts[token, head] = count

    def _rank(
        self, worker: Expr, token: Expr, head: Expr, table_row: Expr, position: Expr, own: Expr
    ) -> None:
        """Emit scoring and choice."""
        spec = self.spec
        first_local = own - spec.window_blocks
        products = KeyProducts(
            spec=spec,
            schedule=self.schedule,
            worker=worker,
            head=head,
            table=self.compressed_table,
            table_row=table_row,
            queries=self.queries,
            work=self.floats,
            stored_at=self.schedule.stored_at(spec),
        )
        scores = Scores(token, position, self.q, products)
        if spec.chosen:
            scores.load_queries()
            scores.normalise(self.coarse)
            scores.score(self.fine, first_local * spec.ratio + 1)
        Choice(
            spec=spec,
            worker=worker,
            scores=self.floats,
            scores_at=scores.scores_at,
            ranks=self.ranks,
            blocks=self.blocks,
            token=token,
            head=head,
            first_local=first_local,
        ).emit()
        self.counts[token, head] = T.int32(spec.budget)
