"""y = scale * epilogue(x W^T + bias) + residual on a GPU, W plain or of integers."""

from sala_compile.codegen.kernels.linear.gpu.launches import Launches
from sala_compile.codegen.kernels.linear.gpu.operands import Operands
from sala_compile.codegen.kernels.linear.gpu.spec import Form, Schedule, Spec, default_schedule
from sala_compile.codegen.kernels.operands import (
    column_views,
    element,
    indices_of,
    refuse_unless_float32,
    spec_values,
)
from sala_compile.codegen.kernels.triton.buffers import parameters
from sala_compile.codegen.kernels.triton.kernel import GpuKernel
from sala_compile.codegen.kernels.triton.phase import is_decode
from sala_compile.codegen.layouts.integer_blocks import PANEL_ROWS
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.passes.support.kernel_choice import KernelChoice, Workspace
from sala_compile.sala_ir.dialect.attributes import Rows
from sala_compile.sala_ir.dialect.base import columns_of, encoding_of, rows_of, weight_shape
from sala_compile.sala_ir.dialect.linear import LinearOp
from sala_compile.sala_ir.dialect.weight_storage import LayoutAttr

__all__ = [
    "Form",
    "Schedule",
    "Spec",
    "arguments",
    "build",
    "default_schedule",
    "rule",
    "spec_of",
    "squares_place",
]


def rule(op: LinearOp, target: CudaTarget) -> KernelChoice | str:
    """Take a linear whose input has the element type of its weight's values."""
    if element(op.x) is not element(op.weight):
        return f"input is {element(op.x)}, weight {element(op.weight)}: they must be equal"
    if op.activation_group.value.data:
        return "the input is rounded to 8 bits, which no GPU kernel does"
    refusal = refuse_unless_float32(bias=op.bias, residual=op.residual)
    if refusal:
        return refusal
    spec = spec_of(op)
    if spec.bits and spec.integers.refusal:
        return spec.integers.refusal
    workspace = _workspace(spec, default_schedule(spec, target))
    return KernelChoice(
        symbol=spec.symbol,
        family="linear",
        spec=spec_values(spec),
        operands=indices_of(op.operands, op.x, op.weight, op.bias, op.residual),
        arguments=(*arguments(spec), *["workspace:0"] * bool(workspace)),
        workspaces=(workspace,) if workspace else (),
        weight_layouts={1: LayoutAttr.block(PANEL_ROWS)} if spec.bits else {},
    )


def arguments(spec: Spec) -> tuple[str, ...]:
    """What a call hands over but for workspaces: inputs x, weight, bias?, residual?, squares?,
    norm?, outputs y, scaled?, sums?.
    """
    weight = ["in:1"]
    if spec.bits:
        weight = [f"in:1.{part}" for part in ("codes", "scales", *["zeros"] * spec.zeros)]
    last = squares_place(spec) + bool(spec.norm) + spec.scaled
    rest = (f"in:{index}" for index in range(2, last))
    outputs = ("out:0", "out:1", "out:2") if spec.scaled else ("out:0",)
    return ("control", "in:0", *weight, *rest, *outputs)


def squares_place(spec: Spec) -> int:
    """The number of the input `squares`."""
    return 2 + spec.bias + bool(spec.residual_pitch)


def spec_of(op: LinearOp) -> Spec:
    """The constants of the kernel for this linear: few rows in decode and for logits."""
    views = column_views(x=op.x)
    if op.residual is not None:
        views |= column_views(residual=op.residual)
    encoding, rows = encoding_of(op.weight), rows_of(op.x)
    few = rows is Rows.LOGIT_ROWS or is_decode(op)
    return Spec(
        depth=columns_of(op.x),
        rows=weight_shape(op.weight)[0],
        weight=element(op.weight),
        output=element(op.result),
        scale=op.scale.value.data,
        bias=op.bias is not None,
        swiglu=op.is_swiglu,
        extent=rows.value,
        form=Form.ROWS if few else Form.TILES,
        bits=encoding.bits,
        group=encoding.group.data,
        zeros=encoding.stores_zeros,
        **views,
    )


def build(spec: Spec, target: CudaTarget, schedule: Schedule | None = None) -> GpuKernel:
    """The kernel (control, x, weight, bias?, residual?, squares?, norm?, y, scaled?, sums?,
    workspace?).

    The weight is [N, K padded to 16], or codes, scales and zeros? as layouts.integer_blocks has
    them. x and y have any capacity of rows; the memory of y may be that of the residual.
    split_norm.py says what `squares`, `norm`, `scaled` and `sums` are.
    """
    schedule = schedule or default_schedule(spec, target)
    each = Launches(spec, schedule)
    if spec.form is Form.ROWS:
        launches = (each.integer_rows() if spec.bits else each.rows(),)
    else:
        launches = tuple(each.slabs()) if spec.bits else (each.tiles(),)
    return GpuKernel(spec.symbol, parameters(Operands(spec, schedule).buffers), launches)


def _workspace(spec: Spec, schedule: Schedule) -> Workspace | None:
    """Values of expanded integers."""
    if spec.bits and spec.form is Form.TILES:
        size = schedule.slab_rows(spec) * spec.integers.depth
        return Workspace("expanded", spec.weight.dtype, size)
    return None
