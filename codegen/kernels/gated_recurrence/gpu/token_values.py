"""Device functions: what the recurrence reads of tokens; `row` [rows] is int64."""

import triton
import triton.language as tl

from sala_compile.codegen.kernels.gated_recurrence.gpu.constants import Constants
from sala_compile.codegen.kernels.triton.values import sigmoid, squared


@triton.jit
def softplus(x):
    """log(1 + e^x) to a few roundings, however small it is.

    log(1 + y) = 2 atanh(y / (2 + y)), y = e^-|x|: what is left of the series is below 2^-25 of it.
    """
    y = tl.exp(-tl.abs(x))
    z = y / (2.0 + y)
    s = z * z
    series = s * (1.0 / 13) + 1.0 / 11
    series = series * s + 1.0 / 9
    series = series * s + 1.0 / 7
    series = series * s + 1.0 / 5
    series = series * s + 1.0 / 3
    return tl.maximum(x, 0.0) + 2.0 * z * (series * s + 1.0)


@triton.jit
def limited_step(x, C: Constants):
    """softplus(x) between the limits of the spec."""
    value = softplus(x)
    if C.LEAST > 0:
        value = tl.maximum(value, C.LEAST)
    if C.LIMITED:
        value = tl.minimum(value, C.MOST)
    return value


@triton.jit
def decays_of(x, speed, C: Constants):
    """The decays of x = decay + decay_bias; `speed` is exp(decay_rate) of the head."""
    if C.LOWER_BOUND < 0:
        exponent = C.LOWER_BOUND * sigmoid(speed * x)
    else:
        exponent = -speed * limited_step(x, C)
    return tl.exp(exponent)


@triton.jit
def head_decays(decay, rate, decay_rate, decay_bias, row, live, head, C: Constants):
    """Decay and rate of a head [rows], one decay for a state; 1 and 0 where not live."""
    speed = tl.exp(tl.load(decay_rate + head))
    x = tl.load(decay + row * C.DECAY_PITCH + C.DECAY_START + head, mask=live, other=0.0)
    x = x + tl.load(decay_bias + head)
    if C.DELTA:
        rates = head_rates(rate, row, live, head, C)
    else:
        rates = tl.where(live, limited_step(x, C), 0.0)
    return tl.where(live, decays_of(x, speed, C), 1.0), rates


@triton.jit
def row_decays(decay, decay_rate, decay_bias, row, live, head, C: Constants):
    """Decays of the rows of a state [rows, LANES]; 1 where not live and beyond the keys."""
    lane = tl.arange(0, C.LANES)
    inside = lane < C.KEY_DIM
    speed = tl.exp(tl.load(decay_rate + head))
    at = decay + row[:, None] * C.DECAY_PITCH + C.DECAY_START + head * C.KEY_DIM + lane[None, :]
    known = live[:, None] & inside[None, :]
    bias = tl.load(decay_bias + head * C.KEY_DIM + lane, mask=inside, other=0.0)
    x = tl.load(at, mask=known, other=0.0) + bias[None, :]
    return tl.where(known, decays_of(x, speed, C), 1.0)


@triton.jit
def head_rates(rate, row, live, head, C: Constants):
    """rate_scale * sigmoid(rate) of a head [rows]; 0 where not live."""
    x = tl.load(rate + row * C.RATE_PITCH + C.RATE_START + head, mask=live, other=0.0)
    return tl.where(live, sigmoid(x) * C.RATE_SCALE, 0.0)


@triton.jit
def queries_of(q, row, live, head, C: Constants):
    """Queries [rows, LANES] of a key head, ready for products."""
    return _prepared(q, row, live, C.Q_START + head * C.KEY_DIM, C.Q_PITCH, C.SCALE, C)


@triton.jit
def keys_of(k, row, live, head, C: Constants):
    """Keys [rows, LANES] of a key head, ready for products."""
    return _prepared(k, row, live, C.K_START + head * C.KEY_DIM, C.K_PITCH, 1.0, C)


@triton.jit
def _prepared(x, row, live, start, PITCH: tl.constexpr, SCALE, C: Constants):
    """Rows [rows, LANES] times SCALE, of unit length before that in a delta rule; 0 beyond."""
    lane = tl.arange(0, C.LANES)
    inside = live[:, None] & (lane < C.KEY_DIM)[None, :]
    found = tl.load(x + row[:, None] * PITCH + start + lane[None, :], mask=inside, other=0.0)
    squares = tl.sum(squared(found), 1)
    return found * inverse_length(squares, SCALE, C)[:, None]


@triton.jit
def inverse_length(squares, SCALE, C: Constants):
    """SCALE over the length of vectors with these sums of squares; SCALE itself in a sum."""
    if C.DELTA:
        factor = tl.div_rn(SCALE, tl.sqrt_rn(squares + C.EPS))
    else:
        factor = tl.zeros_like(squares) + SCALE
    return factor


@triton.jit
def given_rows(x, row, live, start, PITCH: tl.constexpr, first, C: Constants):
    """Rows [rows, PART] of a key from column `first` on, as they are; 0 beyond it."""
    lane = first + tl.arange(0, C.PART)
    inside = live[:, None] & (lane < C.KEY_DIM)[None, :]
    return tl.load(x + row[:, None] * PITCH + start + lane[None, :], mask=inside, other=0.0)


@triton.jit
def values_of(v, row, live, column, head, C: Constants):
    """Values [rows, columns] of a head; 0 beyond it."""
    at = v + row[:, None] * C.V_PITCH + C.V_START + head * C.VALUE_DIM + column[None, :]
    return tl.load(at, mask=live[:, None] & (column < C.VALUE_DIM)[None, :], other=0.0)
