"""Random weights of a model's full shape: what a loader fills every stored tensor with."""

from math import prod, sqrt
from typing import Any

from xdsl.ir import Operation, SSAValue

from sala_compile.codegen.layouts.encodings import WeightPart, part_name
from sala_compile.codegen.plan import Plan
from sala_compile.codegen.weights.expressions import weight_type
from sala_compile.codegen.weights.packing import PackedWeight
from sala_compile.runtime.artifact import ElementType, Fill, SeededWeights
from sala_compile.sala_ir.checkpoint.random_checkpoint import standard_deviation
from sala_compile.sala_ir.dialect import WeightOp

SEED = 0


def seeded_weights(plan: Plan, seed: int = SEED) -> SeededWeights:
    """Fills for every stored tensor: norms of 1, no biases, activations near 1.

    Any bits are integers of an encoding; their scales give them the spread of a plain weight.
    """
    fills = {
        part_name(weight.name, part.suffix): _fill(weight, part, plan.source.config)
        for weight in plan.stored
        for part in weight.parts
    }
    return SeededWeights(seed=seed, fills=fills)


def _fill(weight: PackedWeight, part: WeightPart, config: Any) -> Fill:
    leaf = _first_tensor(weight.rows)
    name, shape = leaf.tensor_name.data, weight_type(leaf.result).get_shape()
    plain: Any = "bfloat16" if part.element is ElementType.UINT16 else "float32"
    if len(shape) == 1:
        value = 1.0 if "norm" in name else 0.0
        return Fill(kind="constant", element=plain, shape=part.shape, value=value)
    spread = standard_deviation(name, shape, config)
    match part.suffix:
        case "codes":
            integers: Any = part.element.value
            return Fill(kind="bits", element=integers, shape=part.shape)
        case "scales":
            step = spread / sqrt((4**weight.type.encoding.bits - 1) / 12)
            return Fill(kind="constant", element="float16", shape=part.shape, value=step)
        case "":
            return Fill(kind="normal", element=plain, shape=part.shape, value=spread)
    raise AssertionError(f"{part.suffix} of {prod(shape)} values has no random filling")


def _first_tensor(value: SSAValue) -> WeightOp:
    """One of the checkpoint's tensors that a weight is made of."""
    op = value.owner
    assert isinstance(op, Operation), "a weight is made by an operation"
    return op if isinstance(op, WeightOp) else _first_tensor(op.operands[0])
