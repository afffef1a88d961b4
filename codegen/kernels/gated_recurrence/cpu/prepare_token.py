"""What the recurrence reads of a token: query, key and value, its decay and its rate."""

from sala_compile.codegen.kernels.gated_recurrence.cpu.head_work import F32, StateHead
from sala_compile.codegen.kernels.gated_recurrence.spec import Rule
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import Expr, Tensor, let, splat
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.tile import live_lanes, zero_tile
from sala_compile.sala_ir.attention_sizes import NO_LIMIT


def prepare(work: StateHead, row: Expr, place: Expr) -> tuple[Expr, Expr]:
    """Emit query, key and value of the token `row` as rows `place` of the worker's memory.

    The results are its decay and its rate, 16 equal lanes each. What a sum adds to the state does
    not depend on it: there the value is already multiplied by the rate.
    """
    spec, tensors, head = work.spec, work.tensors, work.head
    x = let(splat(tensors.decay[row, spec.decay_start + head] + tensors.decay_bias[head]))
    step = _step(work, x) if spec.rule is Rule.SUM else None
    decay = _decay(work, x) if step is None else _faded(work, step)
    rate = _rate(work, row) if step is None else step
    _prepare_rows(work, row, place, rate)
    return decay, rate


def prepare_channels(work: StateHead, row: Expr, place: Expr) -> Expr:
    """The same where decays are vectors: row `place` of `own_decays`; the rate, 16 equal lanes."""
    spec, tensors, at = work.spec, work.tensors, work.at
    first = let(work.head * spec.key_dim)
    for column, live in live_lanes(spec.key_dim):
        given = F32.load(tensors.decay, row, spec.decay_start + first + column, count=live)
        bias = F32.load(tensors.decay_bias, first + column, count=live)
        decay = _decay(work, let(given + bias))
        work.keep(at.own_decays + place * at.key_columns + column, decay)
    rate = _rate(work, row)
    _prepare_rows(work, row, place, rate)
    return rate


def _prepare_rows(work: StateHead, row: Expr, place: Expr, rate: Expr) -> None:
    """Emit query, key and value."""
    spec, tensors, at = work.spec, work.tensors, work.at
    offset = work.key_head * spec.key_dim
    query = at.queries + place * at.key_columns
    _keep_key(work, tensors.q, row, spec.q_start + offset, spec.scale, query)
    key = at.keys + place * at.key_columns
    _keep_key(work, tensors.k, row, spec.k_start + offset, 1.0, key)
    value = spec.v_start + work.head * spec.value_dim
    for column, live in live_lanes(spec.value_dim):
        found = F32.load(tensors.v, row, value + column, count=live)
        found = found * rate if spec.rule is Rule.SUM else found
        work.keep(at.updates + place * at.value_columns + column, found)


def _decay(work: StateHead, x: Expr) -> Expr:
    """The decays of x = decay + decay_bias."""
    bound = work.spec.lower_bound
    if not bound:
        return _faded(work, _step(work, x))
    speed = let(vector.exp(splat(work.tensors.decay_rate[work.head])))
    return let(vector.exp(let(vector.sigmoid(let(speed * x)) * splat(bound))))


def _faded(work: StateHead, step: Expr) -> Expr:
    """exp(-exp(decay_rate) step)."""
    speed = let(vector.exp(splat(work.tensors.decay_rate[work.head])))
    return let(vector.exp(let(-speed * step)))


def _step(work: StateHead, x: Expr) -> Expr:
    """softplus(x), between the limits of the spec."""
    spec = work.spec
    # softplus(x) = max(x, 0) + log(1 + y), y = e^-|x|; what 1 + y loses of y is put back (Kahan).
    y = let(vector.exp(let(-T.abs(x))))
    one = let(y + splat(1.0))
    rest = let(one - splat(1.0))
    safe = let(T.Select(rest == splat(0.0), splat(1.0), rest))
    small = let(T.Select(rest == splat(0.0), y, vector.log(one) * y / safe))
    step = let(vector.maximum(x, splat(0.0)) + small)
    if spec.least > 0:
        step = let(vector.maximum(step, splat(spec.least)))
    if spec.most < NO_LIMIT:
        step = let(-vector.maximum(let(-step), splat(-spec.most)))
    return step


def _rate(work: StateHead, row: Expr) -> Expr:
    """rate_scale * sigmoid(rate) of a token."""
    spec, tensors = work.spec, work.tensors
    x = splat(tensors.rate[row, spec.rate_start + work.head])
    return let(vector.sigmoid(x) * splat(spec.rate_scale))


def first_lane(x: Expr) -> Expr:
    """One of 16 equal lanes."""
    return let(vector.largest(x))


def _keep_key(
    work: StateHead, source: Tensor, row: Expr, start: Expr, scale: float, position: Expr
) -> None:
    """Emit a query or a key times `scale`, of unit length before that in a delta rule."""
    pieces = live_lanes(work.spec.key_dim)
    values = [let(F32.load(source, row, start + c, count=live)) for c, live in pieces]
    factor = splat(scale)
    if work.spec.rule is Rule.DELTA:
        squares = zero_tile(1, 1)
        for value in values:
            squares[0, 0] = vector.fma(value, value, squares[0, 0])
        length = T.sqrt(vector.total(squares[0, 0]) + T.float32(work.spec.eps))
        factor = let(splat(T.float32(scale) / length))
    for (column, _), value in zip(pieces, values, strict=True):
        work.keep(position + column, value * factor)
