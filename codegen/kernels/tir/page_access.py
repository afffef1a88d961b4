"""Reading and writing pages in a CPU kernel."""

from typing import Protocol

from sala_compile.codegen.kernels.tir.builder import Expr, Tensor, lanes, let, long, loop, scratch
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.tile import live_lanes
from sala_compile.codegen.layouts.padding import padded


def page_of(table: Tensor, row: Expr, index: Expr) -> Expr:
    """The page (int64: offsets into pools pass 2^31) in a table of pages."""
    return let(long(table[row, index]))


def write_key(
    element: Element, pool: Tensor, place: tuple[Expr, ...], slot: Expr, key: Tensor
) -> None:
    """Emit the rounding of the floats `key` [Dp] and their write into a slot.

    `place` is where the slots are: page and head, and the run of slots if a page has several.
    """
    head_dim = int(pool.buffer.shape[len(place)]) * element.pack
    rounded = scratch((padded(head_dim),), element.dtype)
    for column, _ in live_lanes(head_dim):
        element.store(rounded, column, value=key[lanes(column)])
    with loop(head_dim // element.pack) as d:
        if element.pack == 1:
            pool[(*place, d, slot, 0)] = rounded[d]
        else:
            pool[(*place, d, slot, lanes(0, 2))] = rounded[lanes(d * 2, 2)]


class SlotSizes(Protocol):
    """Slots of a page of compressed keys, and of one of its runs."""

    @property
    def slots(self) -> int: ...
    @property
    def run(self) -> int: ...


def slot_of(
    sizes: SlotSizes, table: Tensor, row: Expr, head: Expr, slot: Expr
) -> tuple[tuple[Expr, Expr, Expr], Expr]:
    """Page, head and run of a slot of compressed keys of a sequence, and the place in the run."""
    page = page_of(table, row, slot // sizes.slots)
    return (page, head, let(slot % sizes.slots // sizes.run)), let(slot % sizes.run)


def complete_windows(size: int, stride: int, length: Expr) -> Expr:
    """How many windows of `size` tokens, one every `stride`, end within `length` tokens."""
    return T.max((length - (size - stride)) // stride, T.int32(0))
