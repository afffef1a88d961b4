"""The statements of the block attention kernel; README.md has the mathematics."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.attend_blocks.cpu.block_products import add_values, score_keys
from sala_compile.codegen.kernels.attend_blocks.cpu.query_rows import QueryRows
from sala_compile.codegen.kernels.attend_blocks.cpu.running_softmax import finish, softmax, start
from sala_compile.codegen.kernels.attend_blocks.cpu.schedule import Schedule
from sala_compile.codegen.kernels.attend_blocks.spec import Spec
from sala_compile.codegen.kernels.tir.builder import (
    Expr,
    Tensor,
    Tensors,
    let,
    loop,
    scalar,
    scratch,
    when,
)
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.page_access import page_of


@dataclass(frozen=True, slots=True)
class Attend:
    """Emits the kernel."""

    spec: Spec
    schedule: Schedule
    tensors: Tensors

    def item(self, worker: Expr, item: Expr) -> None:
        """Emit the work on one kv head of one token, or of a few tokens in a row."""
        queries = self.schedule.queries(self.spec)
        head = let(item % self.spec.kv_heads)
        first = let(item // self.spec.kv_heads * queries)
        if queries == 1:
            self._take(worker, first, 1, head)
            return
        end = let(T.min(first + queries, self.tensors.control.tokens))
        upcoming = scalar(first, "int32")
        with loop(end - first) as index:
            token = let(first + index)
            with when(token == upcoming[0]):
                count = let(self._dense_run(token, end, head))
                upcoming[0] = token + count
                self._take(worker, token, count, head)

    def _dense_run(self, token: Expr, end: Expr, head: Expr) -> Expr:
        """How many tokens from `token` on are dense, of its sequence, before `end`; at least 1."""
        stop = T.min(end, self.tensors.offsets[self.tensors.token_sequence[token] + 1])
        counts = self.tensors.find("counts")
        if counts is None:
            return stop - token
        return T.if_then_else(counts[token, head] < 0, stop - token, T.int32(1))

    def _take(self, worker: Expr, token: Expr, count: Expr, head: Expr) -> None:
        tensors = self.tensors
        position = let(tensors.token_position[token])
        entries = let((position + count - 1) // self.spec.block_size) + 1
        dense: Expr = None
        if (counts := tensors.find("counts")) is not None:
            listed = let(counts[token, head])
            dense = let(listed < 0)
            entries = T.if_then_else(dense, entries, T.min(listed, T.int32(self.spec.budget)))
        _attend(
            QueryRows(
                self.spec,
                self.schedule,
                tensors,
                worker,
                token,
                count,
                head,
                position,
                table_row=let(tensors.slots[tensors.token_sequence[token]]),
                dense=dense,
                entries=let(entries),
            )
        )


def _attend(work: QueryRows) -> None:
    """Emit the work on some rows: their blocks, a tile of scores after the other."""
    blocks = work.schedule.blocks(work.spec)
    pages, firsts = scratch((blocks,), "int64"), scratch((blocks,), "int32")
    read = scratch((work.schedule.queries(work.spec),), "int32")
    with loop(work.count) as query:
        read[query] = T.int32(0)
    start(work)
    with loop((work.entries + (blocks - 1)) // blocks) as turn:
        entry = let(turn * blocks)
        live = let(T.min(work.entries - entry, T.int32(blocks)))
        with loop(live) as b:
            _look_up(work, entry + b, b, pages, firsts, read)
        with loop(live) as b:
            score_keys(work, b, let(pages[b]), let(firsts[b]))
        with loop(work.rows) as row:
            softmax(work, row, live)
        following = let(entry + blocks)
        add_values(work, live, following, pages, firsts)
    finish(work, read)


def _look_up(
    work: QueryRows, entry: Expr, index: Expr, pages: Tensor, firsts: Tensor, read: Tensor
) -> None:
    """Emit page and first position of a block of the tile, and count it as read."""
    block = let(work.block(entry))
    pages[index] = page_of(work.tensors.page_table, work.table_row, block // work.spec.page_blocks)
    first = let(block * work.spec.block_size)
    firsts[index] = first
    with loop(work.count) as query, when(first <= work.position + query):
        read[query] = read[query] + 1
