"""Weight-side operations on whole weights, rows first."""

from array_api_compat import array_namespace

from sala_compile.sala_ir.reference.arrays import Array
from sala_compile.sala_ir.reference.rounding import Round, to_float16


def concat_weights(parts: tuple[Array, ...], *, axis: int = 0) -> Array:
    """Join weights along `axis`."""
    return array_namespace(*parts).concat(parts, axis=axis)


def interleave_weights(gate: Array, up: Array, *, group: int) -> Array:
    """Alternate `group` rows of `gate` with `group` rows of `up`, each zero padded to whole groups.

    Shapes [rows, columns] twice -> [2 * padded rows, columns]; biases [rows] likewise.
    """
    xp = array_namespace(gate, up)
    padded = -(-gate.shape[0] // group) * group
    grouped = [_pad_rows(part, padded, group) for part in (gate, up)]
    return xp.reshape(xp.stack(grouped, axis=1), (2 * padded, *gate.shape[1:]))


def interleaved_part(both: Array, part: int, *, group: int) -> Array:
    """The rows of gate (`part` 0) or up (1) of what `interleave_weights` gives."""
    xp = array_namespace(both)
    grouped = xp.reshape(both, (-1, 2, group, *both.shape[1:]))
    return xp.reshape(grouped[:, part, ...], (both.shape[0] // 2, *both.shape[1:]))


def zero_rows(like: Array, rows: int) -> Array:
    """So many rows of zeros, with the columns of `like`."""
    xp = array_namespace(like)
    return xp.concat([xp.zeros_like(like[:1, ...])] * rows, axis=0)


def scale_weight(weight: Array, *, factor: float) -> Array:
    """Multiply every value by `factor`."""
    return weight * factor


def offset_weight(weight: Array, *, offset: float) -> Array:
    """Add `offset` to every value."""
    return weight + offset


def cast_weight(weight: Array, *, rounding: Round) -> Array:
    """Round every value as the result's element type says."""
    return rounding(weight)


def quantize_weight(
    weight: Array, *, bits: int, group: int, stores_zeros: bool, rounding: Round
) -> Array:
    """The values that plain rounding to unsigned integers of `bits` leaves, row by row.

    Each `group` values of a row [.., K] share a scale s (float16) and a zero z, the middle of the
    range or stored: i = clip(round(w / s) + z, 0, 2^bits - 1), value = s (i - z), then `rounding`.
    """
    levels, scale, zero = round_to_integers(
        weight, bits=bits, group=group, stores_zeros=stores_zeros
    )
    xp = array_namespace(weight)
    values = xp.reshape(scale * (levels - zero), (weight.shape[0], -1))
    return rounding(values[:, : weight.shape[1]])


def round_to_integers(
    weight: Array, *, bits: int, group: int, stores_zeros: bool
) -> tuple[Array, Array, Array]:
    """Integers [rows, groups, group], scale and zero [rows, groups, 1] of `quantize_weight`.

    The columns are padded with zeros to whole groups.
    """
    xp = array_namespace(weight)
    rows, columns = weight.shape
    padding = xp.zeros((rows, -columns % group), dtype=weight.dtype)
    grouped = xp.reshape(xp.concat([weight, padding], axis=1), (rows, -1, group))
    scale, zero = scale_and_zero(grouped, bits, stores_zeros)
    safe = xp.where(scale > 0, scale, xp.ones_like(scale))
    return xp.clip(xp.round(grouped / safe) + zero, 0, 2**bits - 1), scale, zero


def scale_and_zero(grouped: Array, bits: int, stores_zeros: bool) -> tuple[Array, Array]:
    """Scale, rounded to float16, and zero of each group [rows, groups, values]."""
    xp = array_namespace(grouped)
    if not stores_zeros:
        limit = xp.max(xp.abs(grouped), axis=-1, keepdims=True) / (2 ** (bits - 1) - 1)
        return to_float16(limit), xp.full_like(limit, 2 ** (bits - 1))
    low = xp.clip(xp.min(grouped, axis=-1, keepdims=True), None, 0.0)
    high = xp.clip(xp.max(grouped, axis=-1, keepdims=True), 0.0, None)
    scale = to_float16((high - low) / (2**bits - 1))
    safe = xp.where(scale > 0, scale, xp.ones_like(scale))
    return scale, xp.clip(xp.round(-low / safe), 0, 2**bits - 1)


def _pad_rows(weight: Array, rows: int, group: int) -> Array:
    xp = array_namespace(weight)
    missing = rows - weight.shape[0]
    if missing:
        zeros = xp.zeros_like(weight[:1, ...])
        weight = xp.concat([weight, *[zeros] * missing], axis=0)
    return xp.reshape(weight, (rows // group, group, *weight.shape[1:]))
