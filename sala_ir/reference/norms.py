"""Root-mean-square norms (sections 4 and 7)."""

from array_api_compat import array_namespace

from sala_compile.sala_ir.reference.arrays import Array, take_rows
from sala_compile.sala_ir.reference.gates import output_gate


def rms_norm(
    x: Array, weight: Array, rows: Array | None = None, *, eps: float, group: int
) -> Array:
    """Return x / sqrt(mean(x^2) + eps) * weight over each `group` contiguous columns.

    x [tokens, columns], weight [group]. Output row i is made of input row `rows[i]`, or of row i.
    """
    xp = array_namespace(x, weight)
    x = x if rows is None else take_rows(x, rows)
    parts = xp.reshape(x, (x.shape[0], x.shape[1] // group, group))
    power = xp.mean(xp.square(parts), axis=-1, keepdims=True)
    return xp.reshape(parts * (1.0 / xp.sqrt(power + eps)) * weight, x.shape)


def norm_gate(
    x: Array, weight: Array | None = None, gate: Array | None = None, *, eps: float
) -> Array:
    """Return rms_norm over all columns, then * sigmoid(gate); each only if it is given."""
    y = x if weight is None else rms_norm(x, weight, eps=eps, group=x.shape[1])
    return y if gate is None else output_gate(y, gate)
