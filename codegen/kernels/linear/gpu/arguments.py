"""The arguments of a linear kernel of a GPU."""

from sala_compile.codegen.kernels.arguments import (
    Arguments,
    activation,
    batch,
    given,
    result,
    workspace,
)
from sala_compile.codegen.kernels.linear.gpu.spec import LinearForm, Schedule, Spec
from sala_compile.codegen.layouts.integer_blocks import IntegerBlocks
from sala_compile.codegen.layouts.padding import padded


def arguments(spec: Spec, schedule: Schedule) -> Arguments:
    """The arguments of a call: x and y have any number of rows.

    `squares`, `norm`, `scaled` and `sums` are those of a norm between two kernels (split_norm.py);
    `expanded` holds the values of a slab of integers.
    """
    pitch, norm = spec.residual_pitch, bool(spec.norm)
    expands = bool(spec.bits) and spec.form is LinearForm.TILES
    slab = schedule.slab_rows(spec) * spec.integers.depth if expands else 0
    return (
        *batch("control"),
        activation("x", spec.weight, spec.x_pitch),
        *_weight(spec),
        given("bias", "f32", padded(spec.rows), when=spec.bias),
        activation("residual", "f32", pitch, when=bool(pitch)),
        activation("squares", "f32", padded(spec.squares), when=norm),
        given("norm", "f32", spec.y_pitch, when=spec.scaled),
        result("y", spec.output, spec.y_pitch),
        result("scaled", spec.weight, spec.y_pitch, number=1, when=spec.scaled),
        result("sums", "f32", padded(schedule.across(spec)), number=2, when=spec.scaled),
        workspace("expanded", spec.weight, slab, when=expands),
    )


def _weight(spec: Spec) -> Arguments:
    """Plain values [N, K padded to 16], or integers as `layouts.integer_blocks` has them."""
    if not spec.bits:
        return (given("weight", spec.weight, spec.rows, padded(spec.depth)),)
    return block_arguments(spec.integers)


def block_arguments(shapes: IntegerBlocks) -> Arguments:
    """The stored parts of a weight of integers: codes, scales, zeros?, factors?."""
    codes, scales, groups = shapes.codes_shape, shapes.scales_shape, shapes.groups_shape
    factors = bool(shapes.super_block)
    return (
        given("codes", "i32", *codes, operand="weight", part="codes"),
        given("scales", "f16", *scales, operand="weight", part="scales"),
        given("zeros", "u8", *groups, operand="weight", part="zeros", when=shapes.zeros),
        given("factors", "i8", *groups, operand="weight", part="factors", when=factors),
    )
