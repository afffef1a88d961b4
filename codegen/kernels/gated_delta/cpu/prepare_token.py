"""What the recurrence reads of a token: query and key of unit length, its decay and its rate."""

from sala_compile.codegen.kernels.gated_delta.cpu.head_work import F32, Head
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import Expr, Tensor, let, splat
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.tile import live_lanes, zero_tile


def prepare(work: Head, row: Expr, place: Expr) -> None:
    """Emit query, key, and value of the token `row` as rows `place` of the worker's memory."""
    spec, tensors, at = work.spec, work.tensors, work.at
    offset = work.key_head * spec.key_dim
    query = at.queries + place * at.key_columns
    _keep_unit(work, tensors.q, row, spec.q_start + offset, spec.scale, query)
    key = at.keys + place * at.key_columns
    _keep_unit(work, tensors.k, row, spec.k_start + offset, 1.0, key)
    value = spec.v_start + work.head * spec.value_dim
    for column, live in live_lanes(spec.value_dim):
        found = F32.load(tensors.v, row, value + column, count=live)
        work.keep(at.updates + place * at.value_columns + column, found)


def decay_of(work: Head, row: Expr) -> Expr:
    """exp(-exp(decay_rate) * softplus(decay + decay_bias)) of a token, a scalar."""
    spec, tensors, head = work.spec, work.tensors, work.head
    x = let(splat(tensors.decay[row, spec.decay_start + head] + tensors.decay_bias[head]))
    # softplus(x) = max(x, 0) + log(1 + y), y = e^-|x|; what 1 + y loses of y is put back (Kahan).
    y = let(vector.exp(let(-T.abs(x))))
    one = let(y + splat(1.0))
    rest = let(one - splat(1.0))
    safe = let(T.Select(rest == splat(0.0), splat(1.0), rest))
    small = let(T.Select(rest == splat(0.0), y, vector.log(one) * y / safe))
    softplus = let(vector.maximum(x, splat(0.0)) + small)
    factor = let(vector.exp(splat(tensors.decay_rate[head])))
    return _first(vector.exp(let(-factor * softplus)))


def rate_of(work: Head, row: Expr) -> Expr:
    """rate_scale * sigmoid(rate) of a token, a scalar."""
    spec, tensors = work.spec, work.tensors
    x = splat(tensors.rate[row, spec.rate_start + work.head])
    return _first(vector.sigmoid(x) * splat(spec.rate_scale))


def _first(x: Expr) -> Expr:
    """One of 16 equal lanes."""
    return let(vector.largest(let(x)))


def _keep_unit(
    work: Head, source: Tensor, row: Expr, start: Expr, scale: float, position: Expr
) -> None:
    pieces = live_lanes(work.spec.key_dim)
    values = [let(F32.load(source, row, start + c, count=live)) for c, live in pieces]
    squares = zero_tile(1, 1)
    for value in values:
        squares[0, 0] = vector.fma(value, value, squares[0, 0])
    length = T.sqrt(vector.total(squares[0, 0]) + T.float32(work.spec.eps))
    factor = let(splat(T.float32(scale) / length))
    for (column, _), value in zip(pieces, values, strict=True):
        work.keep(position + column, value * factor)
