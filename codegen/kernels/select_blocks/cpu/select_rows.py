"""The statements of the block selection kernel; README.md has the mathematics."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.select_blocks.cpu.key_products import KeyProducts
from sala_compile.codegen.kernels.select_blocks.cpu.schedule import Schedule
from sala_compile.codegen.kernels.select_blocks.cpu.threshold_choice import Choice
from sala_compile.codegen.kernels.select_blocks.cpu.window_scores import Scores
from sala_compile.codegen.kernels.select_blocks.spec import Spec
from sala_compile.codegen.kernels.tir.builder import Expr, Tensors, choose, let, loop
from sala_compile.codegen.kernels.tir.ir import T

DENSE = -1
"""The count of a query on the dense path; it also fills unused entries of the lists."""


@dataclass(frozen=True, slots=True)
class Select:
    """Emits the kernel."""

    spec: Spec
    schedule: Schedule
    tensors: Tensors

    def item(self, worker: Expr, item: Expr) -> None:
        """Emit the selection for one kv head of one token."""
        spec = self.spec
        token, head = let(item // spec.kv_heads), let(item % spec.kv_heads)
        sequence = let(self.tensors.token_sequence[token])
        position = let(self.tensors.token_position[token])
        own = let(position // spec.block_size)

        def rank() -> None:
            self._rank(worker, token, head, let(self.tensors.slots[sequence]), position, own)

        def sparse() -> None:
            choose(own < spec.budget, lambda: self._take_all(token, head, own + 1, own + 1), rank)

        choose(
            self.tensors.call_lengths[sequence] < spec.dense_len,
            lambda: self._take_all(token, head, 0, DENSE),
            sparse,
        )

    def _take_all(self, token: Expr, head: Expr, used: Expr, count: Expr) -> None:
        """Emit the list of the first `used` blocks."""
        with loop(self.spec.budget) as entry:
            self.tensors.blocks[token, head, entry] = T.Select(entry < used, entry, T.int32(DENSE))
        self.tensors.counts[token, head] = count

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
            table=self.tensors.compressed_table,
            table_row=table_row,
            queries=self.tensors.queries,
            work=self.tensors.scores,
            stored_at=self.schedule.stored_at(spec),
        )
        scores = Scores(token, position, self.tensors.q, products)
        if spec.chosen:
            scores.load_queries()
            scores.normalise(self.tensors.coarse)
            scores.score(self.tensors.fine, first_local * spec.ratio + 1)
        Choice(
            spec=spec,
            worker=worker,
            scores=self.tensors.scores,
            scores_at=scores.scores_at,
            ranks=self.tensors.ranks,
            blocks=self.tensors.blocks,
            token=token,
            head=head,
            first_local=first_local,
        ).emit()
        self.tensors.counts[token, head] = T.int32(spec.budget)
