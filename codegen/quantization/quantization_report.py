"""The table of a quantised model: every tensor, what it is for, how it is stored, its error."""

from collections.abc import Mapping
from statistics import median

from xdsl.dialects.builtin import ModuleOp

from sala_compile.codegen.options import CompileOptions
from sala_compile.codegen.plan import ModelSource
from sala_compile.codegen.quantization.source import Weights
from sala_compile.passes.support.quantization import (
    Quantization,
    own_head,
    quantized_tensors,
    tensor_roles,
)
from sala_compile.runtime.artifact import CalibrationInfo, QuantizationInfo, QuantizedTensor
from sala_compile.sala_ir.dialect import EmbeddingOp, LogitsOp, WeightOp, WeightRole
from sala_compile.sala_ir.dialect.weight_storage import EncodingAttr

DIGITS = 4
"""Significant digits of an error: more of them depend on the order of sums."""
VECTOR, EMBEDDING, HEAD = "norm or bias", "embedding", WeightRole.HEAD.label


def quantization_info(
    source: ModelSource, options: CompileOptions, weights: Weights
) -> QuantizationInfo | None:
    """What the manifest says of a quantised model; None for a plain one."""
    if options.quantization is Quantization.NONE and source.published is None:
        return None
    published = source.published
    encodings = quantized_tensors(source.captured, options.quantization) | dict(source.integers)
    roles = _tensor_roles(source.captured)
    tensors = {
        name: _entry(name, roles.get(name, VECTOR), encodings.get(name), weights)
        for name in source.tensors
    }
    head = own_head(source.captured)
    if head is not None:
        name, encoding = head
        tensors[f"{name} ({HEAD})"] = _entry(name, HEAD, encoding, weights)
        tensors[name] = QuantizedTensor(role=EMBEDDING, encoding=EncodingAttr().label)
    return QuantizationInfo(
        scheme=options.quantization.value if published is None else published.scheme,
        rounding=options.rounding.value if published is None else "checkpoint",
        calibration=_calibration(options, weights),
        requantized="" if published is None else published.rounded,
        weight_error=_rounded(weights.errors.total_error),
        tensors=tensors,
    )


def _entry(
    name: str, role: str, encoding: EncodingAttr | None, weights: Weights
) -> QuantizedTensor:
    return QuantizedTensor(
        role=role,
        encoding=(encoding or EncodingAttr()).label,
        weight_error=_rounded(weights.errors.weight_error(name)),
        output_error=_rounded(weights.errors.output_error(name)),
    )


def quantization_note(info: QuantizationInfo) -> str:
    """The table in a sentence: how it was rounded, the usual error and the largest."""
    kinds = {"output": "output_error", "weight": "weight_error"}
    for kind, field in kinds.items():
        found = {name: getattr(entry, field) for name, entry in info.tensors.items()}
        errors = {name: error for name, error in found.items() if error is not None}
        if errors:
            worst = max(errors, key=lambda name: errors[name])
            return (
                f"{info}; error of the {kind}s {median(errors.values()):.2%} in the median, "
                f"{errors[worst]:.2%} at most ({worst}){_in_all(info, kind)}"
            )
    return str(info)


def _in_all(info: QuantizationInfo, kind: str) -> str:
    """The error of all weights together, where weights are what is reported."""
    known = kind == "weight" and info.weight_error is not None
    return f", {info.weight_error:.2%} in all" if known else ""


def _tensor_roles(captured: ModuleOp) -> Mapping[str, str]:
    """What the matrices of the checkpoint are for."""
    roles = {name: role.label for name, role in tensor_roles(captured).items()}
    for op in captured.walk():
        if isinstance(op, EmbeddingOp | LogitsOp) and isinstance(op.weight.owner, WeightOp):
            name = op.weight.owner.tensor_name.data
            own = EMBEDDING if isinstance(op, EmbeddingOp) else HEAD
            roles[name] = own if name not in roles else f"{EMBEDDING} and {HEAD}"
    return roles


def _calibration(options: CompileOptions, weights: Weights) -> CalibrationInfo | None:
    found = weights.calibration
    if found is None:
        return None
    return CalibrationInfo(
        origin=found.origin,
        tokens=len(found.token_ids),
        sha256=found.digest,
        activation_order=options.activation_order,
    )


def _rounded(error: float | None) -> float | None:
    return None if error is None else float(f"{error:.{DIGITS}g}")
