"""SwiGLU, as the ends of products and a kernel of its own compute it."""

from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import Expr, let, splat
from sala_compile.codegen.kernels.tir.ir import T


def swiglu(gate: Expr, up: Expr, limit: float) -> Expr:
    """Return silu(gate) * up; with a limit above 0 gate is at most that, up within it."""
    if limit:
        gate = let(T.min(gate, splat(limit)))
        up = T.max(T.min(up, splat(limit)), splat(-limit))
    return vector.silu(gate) * up
