"""Products of AMX tiles of bf16: 16 rows x 32 values with 32 values x 16 columns.

A sum takes, for 32 values at a time, the products of the even ones in ascending order and those of
the odd ones in ascending order, and then adds the two: one order for any number of rows.
"""

from contextlib import AbstractContextManager

from sala_compile.codegen.kernels.tir.builder import Expr
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.shims import tile_shims

INSTRUCTIONS = ("amx_bf16", "amx_tile")
"""What a kernel that uses tiles requires (`KernelBuilder.require`)."""

TILE = 16
"""Rows of a tile, of input or of sums; columns of a tile of sums; pairs of the other operand."""
DEPTH = 2 * TILE
"""Values of the reduced dimension in a tile."""
SUMS = TILE * TILE
"""Floats of a tile of sums."""
WIDE = 4
"""Tiles of sums next to each other in a `wide_step`."""


def tiles() -> AbstractContextManager[None]:
    """The statements of the block may use tiles."""
    return T.attr(0, "pragma_import_llvm", tile_shims())


def configure(upper: Expr, lower: Expr) -> None:
    """Emit the rows, at least 1, of the upper and lower tiles (sums 0, 1 and 2, 3; input 4 and 5).

    The other two are tiles of the right operand, 16 pairs x 16 columns.
    """
    rows = [T.int32(n) if isinstance(n, int) else T.Cast("int32", n) for n in (upper, lower)]
    call("configure", *rows)


def row_bytes(values: int) -> Expr:
    """The bytes of bf16 values, as the distance of two rows of a tile."""
    return T.int64(2 * values)


def call(name: str, *arguments: Expr) -> None:
    """Emit a call of one of the functions in `llvm/amx.ll`."""
    T.evaluate(T.call_extern("void", f"sala_tiles_{name}", *arguments))
