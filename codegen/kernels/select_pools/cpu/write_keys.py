"""The keys of the pools that end in a step, rounded, into their pages."""

from sala_compile.codegen.kernels.select_pools.spec import Spec
from sala_compile.codegen.kernels.tir.builder import Expr, Tensors, held, lanes, scratch, when
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.page_access import page_of, write_key
from sala_compile.codegen.kernels.tir.tile import live_lanes
from sala_compile.codegen.layouts.padding import padded


def write(spec: Spec, tensors: Tensors, token: Expr) -> None:
    """Emit the write of the key of the pool that ends with a token, if one does."""
    position = held(tensors.token_position[token])

    def put() -> None:
        row = held(tensors.slots[tensors.token_sequence[token]])
        page = page_of(tensors.page_table, row, position // spec.page_tokens)
        key = scratch((padded(spec.columns),))
        for column, live in live_lanes(spec.columns):
            start = spec.keys_start + column
            key[lanes(column)] = Element.F32.load(tensors.keys, token, start, count=live)
        slot = held(position % spec.page_tokens // spec.pool)
        write_key(spec.element, tensors.pool, (page,), slot, key)

    if spec.pool == 1:
        put()
        return
    with when((position + 1) % spec.pool == 0):
        put()
