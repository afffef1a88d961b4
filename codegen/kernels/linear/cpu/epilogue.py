"""What follows the sums of a linear: bias, SwiGLU, scale, residual, and rounding to the output."""

from collections.abc import Callable
from dataclasses import dataclass

from sala_compile.codegen.kernels.linear.cpu.spec import Spec
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Expr,
    Tensors,
    lanes,
    let,
    splat,
    when,
)
from sala_compile.codegen.kernels.tir.gated import swiglu


@dataclass(frozen=True, slots=True)
class LinearEpilogue:
    """What is done with the sums of a row, and the arguments that it takes."""

    spec: Spec
    tensors: Tensors

    def finish(
        self, row: Expr, weight_row: Expr, vectors: int, sums: Callable[[int], Expr]
    ) -> None:
        """Emit the epilogue of `vectors` vectors of sums of a row, from a row of the weight on.

        `sums(j)` is vector j; vectors beyond the last column are dropped.
        """
        stride = 2 if self.spec.swiglu else 1
        for j in range(0, vectors, stride):
            column = let(weight_row // stride + j // stride * LANES)

            def write(j: int = j, column: Expr = column) -> None:
                values = [sums(j + n) for n in range(stride)]
                value = self._activate(values, weight_row + j * LANES)
                self.spec.output.store(
                    self.tensors.y, row, column, value=self._join(value, row, column)
                )

            if self.spec.columns % (vectors * LANES // stride):
                with when(column < self.spec.columns):
                    write()
            else:
                write()

    def _activate(self, sums: list[Expr], weight_row: Expr) -> Expr:
        """Return the sums with bias, through the activation."""
        if (bias := self.tensors.find("bias")) is not None:
            sums = [v + bias[lanes(weight_row + n * LANES)] for n, v in enumerate(sums)]
        return swiglu(sums[0], sums[1], self.spec.limit) if self.spec.swiglu else sums[0]

    def _join(self, value: Expr, row: Expr, column: Expr) -> Expr:
        """Return scale * value + residual."""
        if (residual := self.tensors.find("residual")) is not None:
            residual = residual[row, lanes(column + self.spec.residual_start)]
            return vector.fma(value, splat(self.spec.scale), residual)
        return value * splat(self.spec.scale) if self.spec.scale != 1.0 else value
