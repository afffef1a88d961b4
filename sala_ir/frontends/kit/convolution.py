"""Short convolutions between a projection and a recurrence."""

from __future__ import annotations

from xdsl.ir import SSAValue

from sala_compile.sala_ir.dialect import ShortConvolutionOp, TransposeWeightOp, columns_of
from sala_compile.sala_ir.frontends.kit.step import StepWriter


def short_convolution(
    step: StepWriter,
    batch: SSAValue,
    x: SSAValue,
    name: str,
    window: str,
    taps: int,
    *,
    bias: bool = False,
    dilation: int = 1,
) -> SSAValue:
    """The columns of x after the filters `name`, [columns, taps], whose `window` is a state.

    Taps are `dilation` tokens apart.
    """
    tensor = step.prefix + name
    filters = step.weight(f"{tensor}.weight", (columns_of(x), taps))
    weight = step.emit(TransposeWeightOp(filters, layer=step.layer), "taps")
    vector = step.weight(f"{tensor}.bias", (columns_of(x),)) if bias else None
    state = step.state(window)
    op = ShortConvolutionOp(
        x, state, batch, weight, bias=vector, dilation=dilation, layer=step.layer
    )
    step.update(**{window: op.window_out})
    return step.emit(op, "convolved", window)
