"""Random weights of a model's full shape: what a loader fills every stored tensor with."""

from collections.abc import Mapping
from math import sqrt
from typing import Any

from xdsl.ir import Operation, SSAValue

from sala_compile.codegen.layouts.encodings import WeightPart, part_name
from sala_compile.codegen.plan import Plan
from sala_compile.codegen.weights.packing import PackedWeight
from sala_compile.runtime.artifact import ElementType, Fill, SeededWeights
from sala_compile.sala_ir.checkpoint.random_spread import Spread, spreads
from sala_compile.sala_ir.dialect import WeightOp

SEED = 0


def seeded_weights(plan: Plan, seed: int = SEED) -> SeededWeights:
    """Fills for every stored tensor: norms of 1, no biases, activations near 1.

    Any bits are integers of an encoding; their scales give them the spread of a plain weight.
    """
    found = spreads(plan.source.captured)
    fills = {
        part_name(weight.name, part.suffix): _fill(weight, part, found)
        for weight in plan.stored
        for part in weight.parts
    }
    return SeededWeights(seed=seed, fills=fills)


def _fill(weight: PackedWeight, part: WeightPart, found: Mapping[str, Spread]) -> Fill:
    leaf = _first_tensor(weight.rows)
    spread = found[next(iter(leaf.tensors))]
    plain: Any = "bfloat16" if part.element is ElementType.UINT16 else "float32"
    if spread.is_norm or spread.is_bias:
        value = 1.0 if spread.is_norm else 0.0
        return Fill(kind="constant", element=plain, shape=part.shape, value=value)
    match part.suffix:
        case "codes":
            integers: Any = part.element.value
            return Fill(kind="bits", element=integers, shape=part.shape)
        case "scales":
            step = spread.deviation / sqrt((4**weight.type.encoding.bits - 1) / 12)
            return Fill(kind="constant", element="float16", shape=part.shape, value=step)
        case "":
            return Fill(kind="normal", element=plain, shape=part.shape, value=spread.deviation)
        case _:
            raise AssertionError(f"{part.suffix} of {weight.name} has no random filling")


def _first_tensor(value: SSAValue) -> WeightOp:
    """One of the checkpoint's tensors that a weight is made of."""
    op = value.owner
    assert isinstance(op, Operation), "a weight is made by an operation"
    return op if isinstance(op, WeightOp) else _first_tensor(op.operands[0])
