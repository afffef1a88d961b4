"""Which weights are stored how, and what they cost: for the summary and for plans on paper."""

from collections.abc import Iterable, Iterator
from math import prod
from typing import Any

from xdsl.dialects.builtin import ModuleOp

from sala_compile.codegen.layouts.encodings import value_type
from sala_compile.codegen.plan import Plan
from sala_compile.codegen.weights.packing import PackedWeight
from sala_compile.codegen.write.emit import weight_file_bytes
from sala_compile.passes.support.quantization import tensor_roles
from sala_compile.sala_ir.dialect import WeightRole
from sala_compile.sala_ir.dialect.kernel_call import KernelCallOp
from sala_compile.sala_ir.dialect.types import WeightType

EMBEDDING, HEAD, TIED = "embedding", WeightRole.HEAD.plural, "embedding and head"
LINEAR, VECTOR = WeightRole.PROJECTION.plural, "norms and biases"
SKIPPED = "linears that the checkpoint does not quantise"
PLAIN_BITS = 32
"""Bits of the widest values that are no integers."""


def weights_document(plan: Plan) -> dict[str, Any]:
    """Bytes of all weights: by kind and encoding, and tensor by tensor.

    `bytes` is what a loader maps: the tensors, and the headers and the padding of their files.
    """
    kinds = _kinds(plan)
    total = sum(weight.nbytes for weight in plan.stored)
    files = weight_file_bytes(plan.stored)
    return {
        "bytes": files,
        "file_headers_bytes": files - total,
        "kinds": list(_groups(plan.stored, kinds)),
        "tensors": [_tensor(weight, kinds[weight.name]) for weight in plan.stored],
    }


def _groups(weights: Iterable[PackedWeight], kinds: dict[str, str]) -> Iterator[dict[str, Any]]:
    groups: dict[tuple[str, str, str], list[PackedWeight]] = {}
    for weight in weights:
        key = (kinds[weight.name], weight.type.encoding.label, value_type(weight.type))
        groups.setdefault(key, []).append(weight)
    for (kind, encoding, dtype), group in groups.items():
        values = sum(prod(weight.type.get_shape()) for weight in group)
        parts: dict[str, int] = {}
        for weight in group:
            for part in weight.parts:
                name = part.suffix or "values"
                parts[name] = parts.get(name, 0) + part.spec(weight.name).nbytes
        size = sum(parts.values())
        yield {
            "kind": kind,
            "encoding": encoding,
            "dtype": dtype,
            "tensors": len(group),
            "values": values,
            "bytes": size,
            "parts": parts,
            "bits_per_value": round(8 * size / values, 4),
        }


def _tensor(weight: PackedWeight, kind: str) -> dict[str, Any]:
    return {
        "name": weight.name,
        "kind": kind,
        "encoding": weight.type.encoding.label,
        "dtype": value_type(weight.type),
        "shape": list(weight.type.get_shape()),
        "layout": weight.layout,
        "bytes": weight.nbytes,
    }


def _kinds(plan: Plan) -> dict[str, str]:
    """What every stored weight is for."""
    finer, limit = SKIPPED, PLAIN_BITS - 1
    if plan.source.published is None:
        finer = _sensitive(plan)
        limit = min((_bits(weight.type) for weight in plan.stored), default=PLAIN_BITS)
    kinds: dict[str, str] = {}
    for lowered in plan.lowered:
        for call in _calls(lowered.module):
            for value in call.inputs:
                if isinstance(value.type, WeightType):
                    name = plan.weights.name_of(value)
                    found = _kind(call, value.type)
                    if found == LINEAR and _bits(value.type) > limit:
                        found = finer
                    both = {kinds.get(name, found), found}
                    kinds[name] = TIED if both >= {EMBEDDING, HEAD} or TIED in both else found
    return kinds


def _sensitive(plan: Plan) -> str:
    """Linears of the layers that a quantised model stores with more bits than the others."""
    found = set(tensor_roles(plan.source.captured).values())
    return ", ".join(role.plural for role in WeightRole if role in found and role.is_sensitive)


def _calls(module: ModuleOp) -> Iterator[KernelCallOp]:
    return (op for op in module.walk() if isinstance(op, KernelCallOp))


def _kind(call: KernelCallOp, kind: WeightType) -> str:
    """What a weight is for."""
    if len(kind.get_shape()) == 1:
        return VECTOR
    if EMBEDDING in call.family.data:
        return EMBEDDING
    return HEAD if call.layer is None else LINEAR


def _bits(kind: WeightType) -> int:
    return kind.encoding.bits or PLAIN_BITS
