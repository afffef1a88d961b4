"""Weight-side operations on whole weights, rows first."""

from array_api_compat import array_namespace

from sala_ir.reference.arrays import Array
from sala_ir.reference.rounding import Round


def concat_weights(parts: tuple[Array, ...], *, axis: int = 0) -> Array:
    """Join weights along `axis`."""
    return array_namespace(*parts).concat(parts, axis=axis)


def interleave_weights(gate: Array, up: Array, *, group: int) -> Array:
    """Alternate `group` rows of `gate` with `group` rows of `up`, each zero padded to whole groups.

    Shapes [rows, columns] twice -> [2 * padded rows, columns].
    """
    xp = array_namespace(gate, up)
    padded = -(-gate.shape[0] // group) * group
    grouped = [_pad_rows(part, padded, group) for part in (gate, up)]
    return xp.reshape(xp.stack(grouped, axis=1), (2 * padded, gate.shape[1]))


def scale_weight(weight: Array, *, factor: float) -> Array:
    """Multiply every value by `factor`."""
    return weight * factor


def cast_weight(weight: Array, *, rounding: Round) -> Array:
    """Round every value as the result's element type says."""
    return rounding(weight)


def pack_weight(weight: Array) -> Array:
    """Return the weight as it is: a layout changes no value."""
    return weight


def _pad_rows(weight: Array, rows: int, group: int) -> Array:
    xp = array_namespace(weight)
    missing = rows - weight.shape[0]
    if missing:
        zeros = xp.zeros_like(weight[:1, :])
        weight = xp.concat([weight, *[zeros] * missing], axis=0)
    return xp.reshape(weight, (rows // group, group, weight.shape[1]))
