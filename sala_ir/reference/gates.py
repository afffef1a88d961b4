"""Element-wise functions: gates, SwiGLU and the residual sum (sections 4, 6 and 7)."""

from array_api_compat import array_namespace

from sala_ir.reference.arrays import Array


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + exp(-x)), as a hyperbolic tangent: without overflow, in value or slope."""
    return 0.5 * array_namespace(x).tanh(0.5 * x) + 0.5


def silu(x: Array) -> Array:
    """Return x * sigmoid(x)."""
    return x * sigmoid(x)


def output_gate(x: Array, gate: Array) -> Array:
    """Return x * sigmoid(gate), element by element."""
    return x * sigmoid(gate)


def swiglu(gate: Array, up: Array) -> Array:
    """Return silu(gate) * up, element by element."""
    return silu(gate) * up


def residual_add(hidden: Array, x: Array, *, scale: float) -> Array:
    """Return hidden + scale * x."""
    return hidden + scale * x


def slice_columns(x: Array, *, start: int, size: int) -> Array:
    """Return columns `start` to `start + size`."""
    return x[:, start : start + size]
