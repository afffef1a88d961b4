"""The powers of every head's decay: the factors and the causal mask of a chunk."""

import math

from sala_compile.codegen.kernels.lightning_attention.spec import CHUNK, Spec

MARGIN = 16
"""Zeros around the decay table: a tile looks up powers of rows and columns outside the chunk."""

SPAN = 2 * CHUNK
"""Table entries of one head: the powers 64, 63, ... 0 of the decay, then zeros."""


def decay_values(spec: Spec) -> list[float]:
    """The powers of every head's decay exp(-slope), computed in float64.

    Entry MARGIN + SPAN * head + CHUNK - n is the n-th power, and 0 for a negative n: this is the
    causal mask of a chunk.
    """
    values = [0.0] * MARGIN
    for slope in spec.slopes:
        values += [math.exp(-slope * n) if n >= 0 else 0.0 for n in range(CHUNK, CHUNK - SPAN, -1)]
    return values + [0.0] * MARGIN
