"""Products with weights of integers, and rows of them."""

from onnx import TensorProto

from sala_compile.codegen.onnx_export.element import OnnxElement
from sala_compile.codegen.onnx_export.integer_weight import IntegerWeight
from sala_compile.codegen.onnx_export.step_graph import StepGraph

DOMAIN = "com.microsoft"
FLOAT32_SUMS = 1
"""The accuracy level of products: sums and activations in float32."""


def integer_product(x: str, weight: IntegerWeight, step: StepGraph, hint: str) -> str:
    """x [rows, columns] times the transpose of a weight, of the type of x.

    x is widened to float32 where the scales are. Minima take part as the sum of each group of x
    times them.
    """
    add, widens = step.writer.add, weight.element is not step.element
    x = step.widened(x) if widens else x
    operands = [weight.codes, weight.scales, *([weight.zeros] if weight.zeros else [])]
    y = add(
        "MatMulNBits",
        x,
        *operands,
        domain=DOMAIN,
        K=weight.columns,
        N=weight.rows,
        bits=weight.bits,
        block_size=weight.group,
        accuracy_level=FLOAT32_SUMS,
        hint=hint,
    )
    step.writer.describe(y, weight.element.tensor_type, (None, weight.rows))
    if weight.minima:
        shape = step.writer.constant([-1, weight.groups, weight.group])
        groups = add("Reshape", x, shape, hint="groups")
        sums = add("ReduceSum", groups, step.writer.constant([2]), keepdims=0, hint="sums")
        y = add("Gemm", sums, weight.minima, y, transB=1, hint=hint)
    return step.narrowed(y) if widens else y


def integer_rows(ids: str, weight: IntegerWeight, step: StepGraph, hint: str) -> str:
    """The rows of a weight that `ids` names, [..., columns], of the element type."""
    add, constant = step.writer.add, step.writer.constant
    scales = _column(_gathered(weight.scales, ids, step), step)
    codes = _gathered(weight.codes, ids, step)
    sizes = (weight.groups, weight.group)
    codes = _unpacked(codes, sizes, weight, step)
    if weight.zeros:
        zeros = _gathered(weight.zeros, ids, step)
        zeros = _unpacked(zeros, (-1,), weight, step)
        ends = (constant([at]) for at in (0, weight.groups, -1))
        zeros = _column(add("Slice", zeros, *ends, hint="zeros"), step)
    else:
        zeros = constant(1 << (weight.bits - 1), weight.element.dtype)
    values = add("Mul", add("Sub", codes, zeros, hint="steps"), scales, hint="values")
    if weight.minima:
        minima = _column(_gathered(weight.minima, ids, step), step)
        values = add("Add", values, minima, hint="values")
    rows = add("Reshape", values, constant([0, 0, -1]), hint=hint)
    if weight.groups * weight.group > weight.columns:
        ends = (constant([at]) for at in (0, weight.columns, 2))
        rows = add("Slice", rows, *ends, hint=hint)
    return rows if weight.element is step.element else step.narrowed(rows)


def _gathered(table: str, ids: str, step: StepGraph) -> str:
    return step.writer.add("Gather", table, ids, axis=0, hint="rows")


def _column(value: str, step: StepGraph) -> str:
    return step.writer.add("Unsqueeze", value, step.writer.constant([3]), hint="column")


def _unpacked(codes: str, sizes: tuple[int, ...], weight: IntegerWeight, step: StepGraph) -> str:
    """Integers [batch, sequence, *sizes] of bytes, in the type of the scales."""
    add, constant = step.writer.add, step.writer.constant
    if weight.bits == 4:
        low = add("BitwiseAnd", codes, constant(15, "uint8"), hint="low")
        high = add("BitShift", codes, constant(4, "uint8"), direction="RIGHT", hint="high")
        halves = [add("Unsqueeze", half, constant([-1]), hint="half") for half in (low, high)]
        codes = add("Concat", *halves, axis=-1, hint="halves")
    codes = add("Reshape", codes, constant([0, 0, *sizes]), hint="codes")
    kind = TensorProto.FLOAT if weight.element is OnnxElement.FLOAT32 else TensorProto.FLOAT16
    return add("Cast", codes, to=kind, hint="codes")
