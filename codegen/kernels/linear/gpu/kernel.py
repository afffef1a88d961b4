"""y = scale * epilogue(x W^T + bias) + residual on a GPU, W plain or of integers."""

from collections.abc import Mapping

from sala_compile.codegen.kernels.arguments import Arguments
from sala_compile.codegen.kernels.linear.gpu.arguments import arguments
from sala_compile.codegen.kernels.linear.gpu.launches import Launches
from sala_compile.codegen.kernels.linear.gpu.spec import LinearForm, Schedule, Spec, default_tiles
from sala_compile.codegen.kernels.operands import column_views, element, refuse_unless_float32
from sala_compile.codegen.kernels.triton.family import GpuFamily
from sala_compile.codegen.kernels.triton.kernel import Launch
from sala_compile.codegen.kernels.triton.phase import is_decode
from sala_compile.codegen.layouts.integer_blocks import PANEL_ROWS
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.sala_ir.dialect.attributes import Rows
from sala_compile.sala_ir.dialect.base import columns_of, encoding_of, rows_of, weight_shape
from sala_compile.sala_ir.dialect.linear import LinearOp
from sala_compile.sala_ir.dialect.weight_storage import LayoutAttr


def describe(op: LinearOp, target: CudaTarget) -> Spec | str:
    """Take a linear whose input has the element type of its weight's values."""
    if element(op.x) is not element(op.weight):
        return f"input is {element(op.x)}, weight {element(op.weight)}: they must be equal"
    if op.activation_group.value.data:
        return "the input is rounded to 8 bits, which no GPU kernel does"
    if op.limit.value.data:
        return "SwiGLU with a limit has no kernel on GPUs"
    refusal = refuse_unless_float32(bias=op.bias, residual=op.residual)
    if refusal:
        return refusal
    spec = _spec(op)
    return (spec.integers.refusal if spec.bits else None) or spec


def _spec(op: LinearOp) -> Spec:
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
        form=LinearForm.ROWS if few else LinearForm.TILES,
        bits=encoding.bits,
        group=encoding.group.data,
        zeros=encoding.stores_zeros,
        minima=encoding.has_minima,
        super=encoding.super_block.data,
        **views,
    )


def layouts(spec: Spec) -> Mapping[str, LayoutAttr]:
    """How the weight is stored if it is not row-major."""
    return {"weight": LayoutAttr.block(PANEL_ROWS)} if spec.bits else {}


def launches(spec: Spec, schedule: Schedule, arguments: Arguments) -> tuple[Launch, ...]:
    """One launch, but for many rows of integers one pair for each slab of the weight."""
    each = Launches(spec, schedule, arguments)
    if spec.form is LinearForm.ROWS:
        return (each.integer_rows() if spec.bits else each.rows(),)
    return tuple(each.slabs()) if spec.bits else (each.tiles(),)


FAMILY = GpuFamily(
    name="linear",
    spec=Spec,
    describe=describe,
    arguments=arguments,
    schedule=Schedule,
    tiles=default_tiles,
    layouts=layouts,
    launches=launches,
)
