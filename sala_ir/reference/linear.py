"""Linear layers with their epilogues, and the head (sections 4, 6 and 7)."""

from array_api_compat import array_namespace

from sala_compile.sala_ir.dialect import SWIGLU_GROUP
from sala_compile.sala_ir.reference.arrays import Array, take_rows
from sala_compile.sala_ir.reference.gates import swiglu


def linear(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    residual: Array | None = None,
    *,
    scale: float = 1.0,
    swiglu_columns: int | None = None,
    limit: float = 0.0,
) -> Array:
    """Return scale * (x W^T + bias) + residual: x [rows, in], weight [out, in].

    With `swiglu_columns` the rows of the weight are interleaved gate and up rows, and
    silu(gate) * up takes the place of the sum, cut to that many columns; `limit` is that of
    `swiglu`.
    """
    xp = array_namespace(x, weight)
    product = xp.matmul(x, xp.matrix_transpose(weight))
    return linear_epilogue(
        product, bias, residual, scale=scale, swiglu_columns=swiglu_columns, limit=limit
    )


def linear_epilogue(
    product: Array,
    bias: Array | None = None,
    residual: Array | None = None,
    *,
    scale: float = 1.0,
    swiglu_columns: int | None = None,
    limit: float = 0.0,
) -> Array:
    """Return what `linear` makes of the product x W^T [rows, out]."""
    y = product if bias is None else product + bias
    if swiglu_columns is not None:
        y = interleaved_swiglu(y, limit=limit)[:, :swiglu_columns]
    y = y if scale == 1.0 else y * scale
    return y if residual is None else residual + y


def interleaved_swiglu(y: Array, *, group: int = SWIGLU_GROUP, limit: float = 0.0) -> Array:
    """Return silu(gate) * up of columns that alternate `group` of gate and `group` of up."""
    xp = array_namespace(y)
    rows, columns = y.shape
    parts = xp.reshape(y, (rows, columns // (2 * group), 2, group))
    gate = xp.reshape(parts[:, :, 0, :], (rows, columns // 2))
    up = xp.reshape(parts[:, :, 1, :], (rows, columns // 2))
    return swiglu(gate, up, limit=limit)


def logits(hidden: Array, rows: Array, weight: Array, *, scale: float) -> Array:
    """Return scale * hidden[rows] W^T: hidden [tokens, hidden], weight [vocabulary, hidden]."""
    return linear(take_rows(hidden, rows), weight, scale=scale)
