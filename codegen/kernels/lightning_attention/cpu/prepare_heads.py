"""Norm, scale and rotation of the query and the key of a token."""

from collections.abc import Sequence

from sala_compile.codegen.kernels.lightning_attention.cpu.head_work import F32, Head
from sala_compile.codegen.kernels.lightning_attention.spec import Spec
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import Expr, Tensor, lanes, let, splat
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.tile import live_lanes, zero_tile


def prepare(work: Head, row: Expr, place: Expr) -> None:
    """Emit norm and rotation of the query and the key of a token, kept as rows `place`."""
    spec, tensors = work.spec, work.tensors
    query = spec.q_start + work.head * spec.head_dim
    key = spec.k_start + work.kv_head * spec.head_dim
    _keep_prepared(
        work, tensors.q, row, query, tensors.find("q_norm"), spec.scale, place * work.columns
    )
    norm = tensors.find("k_norm")
    _keep_prepared(work, tensors.k, row, key, norm, None, work.keys_at + place * work.columns)


def _keep_prepared(
    work: Head,
    source: Tensor,
    row: Expr,
    start: Expr,
    weight: Tensor | None,
    scale: float | None,
    position: Expr,
) -> None:
    pieces = live_lanes(work.spec.head_dim)
    values = [let(F32.load(source, row, start + c, count=live)) for c, live in pieces]
    if weight is not None:
        factor = splat(_inverse_norm(work.spec, values))
        values = [x * factor * weight[lanes(c)] for x, (c, _) in zip(values, pieces, strict=True)]
    if scale is not None:
        values = [x * splat(scale) for x in values]
    for (column, _), value in zip(pieces, values, strict=True):
        work.keep(position + column, value)
    if (table := work.tensors.find("rope")) is not None:
        _rotate(work, table, row, position)


def _inverse_norm(spec: Spec, values: Sequence[Expr]) -> Expr:
    squares = zero_tile(1, 1)
    for value in values:
        squares[0, 0] = vector.fma(value, value, squares[0, 0])
    mean = vector.total(squares[0, 0]) * T.float32(1.0 / spec.head_dim)
    return let(T.float32(1.0) / T.sqrt(mean + T.float32(spec.eps)))


def _rotate(work: Head, table: Tensor, row: Expr, position: Expr) -> None:
    half, chunk = work.spec.head_dim // 2, work.tensors.chunk
    for column, live in live_lanes(half):
        low, high = position + column, position + half + column
        x = let(F32.load(chunk, work.worker, low, count=live))
        y = let(F32.load(chunk, work.worker, high, count=live))
        cosine = let(F32.load(table, row, column, count=live))
        sine = let(F32.load(table, row, half + column, count=live))
        rotated = let(x * cosine - y * sine), let(y * cosine + x * sine)
        F32.store(chunk, work.worker, low, value=rotated[0], count=live)
        F32.store(chunk, work.worker, high, value=rotated[1], count=live)
