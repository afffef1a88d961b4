"""A small GPU kernel with every kind of argument: row sums of products, slab by slab."""

import triton
import triton.language as tl

from sala_compile.codegen.kernels.triton.kernel import (
    ONE,
    Extent,
    GpuKernel,
    Grid,
    Launch,
    Parameter,
    Pointer,
    Slabs,
    SlabStart,
)


@triton.jit
def _square(x):
    return x * x


@triton.jit
def square_rows(control, x, y, pitch, slab, SLAB: tl.constexpr, D: tl.constexpr):
    """y[row] = the squares of x[slab + row], rounded to bfloat16, for the live rows of a slab."""
    row = tl.program_id(0)
    if slab + row >= tl.load(control):
        return
    columns = tl.arange(0, D)
    live = columns < pitch
    values = tl.load(x + (slab + row).to(tl.int64) * pitch + columns, mask=live, other=0.0)
    tl.store(y + row * pitch + columns, _square(values).to(tl.bfloat16), mask=live)


@triton.jit
def sum_rows(control, y, out, pitch, slab, D: tl.constexpr):
    """out[slab + row] = sum of y[row] + 0.5 * max of y[row]."""
    row = tl.program_id(0)
    if slab + row >= tl.load(control):
        return
    columns = tl.arange(0, D)
    values = tl.load(y + row * pitch + columns, mask=columns < pitch, other=0.0).to(tl.float32)
    tl.store(out + slab + row, tl.sum(values, 0) + 0.5 * tl.max(values, 0))


def toy_kernel(pitch: int = 48, slab: int = 4, warps: int = 1) -> GpuKernel:
    """out[t] of every row t of x [tokens, pitch], by slabs of rows."""
    grid = (Grid(0, (("tokens", 1, 1),)), ONE, ONE)
    block = triton.next_power_of_2(pitch)
    shared = {"control": Pointer("control", "i32"), "pitch": Extent("x", 1), "slab": SlabStart()}
    squares = Launch(
        square_rows,
        grid,
        shared | {"x": Pointer("x", "fp32"), "y": Pointer("y", "bf16")},
        {"SLAB": slab, "D": block},
        warps,
    )
    sums = Launch(
        sum_rows,
        grid,
        shared | {"y": Pointer("y", "bf16"), "out": Pointer("out", "fp32")},
        {"D": block},
        warps,
    )
    return GpuKernel(
        "toy",
        (
            Parameter("control", "int32", (16,)),
            Parameter("x", "float32", ("tokens", pitch)),
            Parameter("y", "uint16", (slab, pitch)),
            Parameter("out", "float32", ("tokens",)),
        ),
        (Slabs("tokens", slab, (squares, sums)),),
    )
