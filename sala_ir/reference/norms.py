"""Root-mean-square norms (sections 4 and 7), and the layer norm."""

from array_api_compat import array_namespace

from sala_compile.sala_ir.reference.arrays import Array, take_rows
from sala_compile.sala_ir.reference.gates import output_gate


def rms_norm(
    x: Array,
    weight: Array,
    rows: Array | None = None,
    gate: Array | None = None,
    *,
    eps: float,
    groups: int = 1,
) -> Array:
    """Return x / sqrt(mean(x^2) + eps) * weight over each `group` contiguous columns.

    x [tokens, columns], weight [groups * group]: all columns, those of a head, or those of several
    groups with a statistic each. Output row i is made of
    input row `rows[i]`, or of row i. With a gate [tokens, columns], the result is multiplied by
    sigmoid(gate).
    """
    xp = array_namespace(x, weight)
    group = weight.shape[0] // groups
    x = x if rows is None else take_rows(x, rows)
    parts = xp.reshape(x, (x.shape[0], x.shape[1] // group, group))
    power = xp.mean(xp.square(parts), axis=-1, keepdims=True)
    normal = parts * (1.0 / xp.sqrt(power + eps))
    normal = xp.reshape(normal, (x.shape[0], x.shape[1] // weight.shape[0], weight.shape[0]))
    y = xp.reshape(normal * weight, x.shape)
    return y if gate is None else output_gate(y, gate)


def layer_norm(x: Array, weight: Array, bias: Array, *, eps: float) -> Array:
    """Return (x - mean) / sqrt(variance + eps) * weight + bias of every row [tokens, columns]."""
    xp = array_namespace(x, weight)
    centred = x - xp.mean(x, axis=-1, keepdims=True)
    variance = xp.mean(xp.square(centred), axis=-1, keepdims=True)
    return centred * (1.0 / xp.sqrt(variance + eps)) * weight + bias
