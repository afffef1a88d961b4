"""Short causal convolutions of single columns, and the window that they keep of a sequence."""

from collections.abc import Mapping

from array_api_compat import array_namespace

from sala_compile.sala_ir.reference.arrays import Array, device_of
from sala_compile.sala_ir.reference.batch import Batch
from sala_compile.sala_ir.reference.gates import silu
from sala_compile.sala_ir.reference.rounding import Round, exact

ConvolutionWindow = Mapping[int, Array]
"""Slot -> inputs of the last tokens, the oldest first: [dilation * (taps - 1), columns]."""


def short_convolution(
    x: Array,
    window: ConvolutionWindow,
    batch: Batch,
    weight: Array,
    bias: Array | None = None,
    *,
    dilation: int = 1,
    state_rounding: Round = exact,
) -> tuple[Array, ConvolutionWindow]:
    """Return silu(bias + sum_j weight[j] * x_(t - D (taps - 1 - j))) of all tokens, and windows.

    x [tokens, columns], weight [taps, columns], bias [columns], D the `dilation`. Inputs before the
    first token are 0; those of earlier steps are what the window has, the last `D (taps - 1)`.
    """
    xp = array_namespace(x, weight)
    taps, updated, outs = weight.shape[0], dict(window), [x[:0, ...]]
    nothing = xp.zeros((dilation * (taps - 1), x.shape[1]), dtype=x.dtype, device=device_of(x))
    for part in batch:
        past = window[part.slot] if part.history else nothing
        known = xp.concat([past, x[part.rows, ...]], axis=0)
        starts = [dilation * tap for tap in range(taps)]
        rows = [known[start : start + part.count, ...] for start in starts]
        total = sum(weight[tap, ...] * own for tap, own in enumerate(rows))
        outs.append(silu(total if bias is None else total + bias))
        updated[part.slot] = state_rounding(known[part.count :, ...])
    return xp.concat(outs, axis=0), updated
