"""Constant tables of a kernel: float32 values that are in the library next to its code."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sala_compile.codegen.kernels.tir.builder import Expr
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.shims import float32_constant
from sala_compile.codegen.kernels.tir.vector import FLOATS

_TEXT = """
@{name}_values = private unnamed_addr constant [{count} x float] [{values}], align 64
define float @{name}(i32 %i) {{
  %p = getelementptr float, ptr @{name}_values, i32 %i
  %r = load float, ptr %p, align 4
  ret float %r
}}
define <16 x float> @{name}_16(i32 %i) {{
  %p = getelementptr float, ptr @{name}_values, i32 %i
  %r = load <16 x float>, ptr %p, align 4
  ret <16 x float> %r
}}
"""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of float32 constants that is read by an int32 index, not checked."""

    name: str

    def __getitem__(self, index: Expr) -> Expr:
        """Return one value."""
        return T.call_pure_extern("float32", self.name, index)

    def vector(self, index: Expr) -> Expr:
        """Return the 16 values from `index` on."""
        return T.call_pure_extern(FLOATS, f"{self.name}_16", index)


@contextmanager
def constant_table(name: str, values: Sequence[float]) -> Iterator[Table]:
    """Give the statements of the block a table; `name` must be unique in the library."""
    text = ", ".join(f"float {float32_constant(value)}" for value in values)
    text = _TEXT.format(name=name, count=len(values), values=text)
    with T.attr(0, "pragma_import_llvm", text):
        yield Table(name)
