"""Element-wise functions: gates, SwiGLU and the residual sum (sections 4, 6 and 7)."""

from array_api_compat import array_namespace

from sala_compile.sala_ir.reference.arrays import Array


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + exp(-x)): the namespace's own function, if it has one.

    Else it is a hyperbolic tangent, which overflows in neither value nor slope.
    """
    xp = array_namespace(x)
    own = getattr(xp, "sigmoid", None)
    return 0.5 * xp.tanh(0.5 * x) + 0.5 if own is None else own(x)


def silu(x: Array) -> Array:
    """Return x * sigmoid(x)."""
    return x * sigmoid(x)


def scaled_sigmoid(x: Array, *, scale: float = 1.0) -> Array:
    """Return scale * sigmoid(x)."""
    return scale * sigmoid(x)


def squared_relu(x: Array) -> Array:
    """Return max(x, 0)^2."""
    return array_namespace(x).clip(x, 0.0, None) ** 2


def softplus(x: Array) -> Array:
    """Return log(1 + exp(x)), for x of any size."""
    xp = array_namespace(x)
    return xp.clip(x, 0.0, None) + xp.log1p(xp.exp(-xp.abs(x)))


def output_gate(x: Array, gate: Array) -> Array:
    """Return x * sigmoid(gate); each column of the gate is for as many neighbours of x."""
    if gate.shape == x.shape:
        return x * sigmoid(gate)
    xp = array_namespace(x, gate)
    rows, gates = gate.shape
    grouped = xp.reshape(x, (rows, gates, x.shape[1] // gates))
    return xp.reshape(grouped * sigmoid(gate)[:, :, None], x.shape)


def swiglu(gate: Array, up: Array, *, limit: float = 0.0) -> Array:
    """Return silu(gate) * up, element by element.

    With a `limit` the gate is at most that, and up within it on both sides.
    """
    if limit:
        xp = array_namespace(gate, up)
        gate, up = xp.clip(gate, None, limit), xp.clip(up, -limit, limit)
    return silu(gate) * up


def residual_add(hidden: Array, x: Array, *, scale: float) -> Array:
    """Return hidden + scale * x."""
    return hidden + scale * x


def slice_columns(x: Array, *, start: int, size: int) -> Array:
    """Return columns `start` to `start + size`."""
    return x[:, start : start + size]
