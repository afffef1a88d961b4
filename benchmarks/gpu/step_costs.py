"""What every step of a program has to do at the least, by the shapes of its arguments."""

from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import Any

from benchmarks.gpu.roofline import (
    Ceilings,
    Cost,
    lightning_decode,
    lightning_prefill,
    scoring,
    selection,
    sparse_attention,
    sparse_decode,
)
from benchmarks.gpu.sizes import Sizes
from sala_compile.runtime.artifact import Artifact, PhaseName, Step, Value, ValueKind


def step_cost(
    artifact: Artifact, step: Step, phase: PhaseName, sizes: Sizes, tokens: int, context: int
) -> Cost:
    """The cost of a step for `tokens` new tokens (sequences in decode) at a context."""
    decodes = phase is PhaseName.DECODE
    match step.family:
        case "lightning_attention":
            return (lightning_decode if decodes else lightning_prefill)(sizes, tokens)
        case "select_blocks":
            scored, chosen = scoring(sizes, tokens, context), selection(sizes, tokens, context)
            return Cost(scored.operations, scored.bytes + chosen.bytes, scored.exponentials)
        case "attend_blocks":
            return (sparse_decode if decodes else sparse_attention)(sizes, tokens)
    names = tuple(dict.fromkeys(step.arguments))
    moved = sum(_moved(artifact.program.values[name], tokens) for name in names)
    products = _products(artifact, names) if step.family == "linear" else 0
    return Cost(operations=2.0 * tokens * products, bytes=moved)


def by_family(
    steps: Sequence[Step],
    seconds: Sequence[float],
    costs: Sequence[Cost],
    ceilings: Ceilings,
    predicted: Mapping[str, float],
) -> list[dict[str, Any]]:
    """Seconds of steps by their family, the longest first, beside their floors.

    A family has `model_seconds` if the model predicts all of its kernels.
    """
    rows: dict[str, dict[str, Any]] = {}
    for step, taken, cost in zip(steps, seconds, costs, strict=True):
        row = rows.setdefault(
            step.family,
            {"family": step.family, "steps": 0, "seconds": 0.0, "floor_seconds": 0.0, "model": []},
        )
        row["steps"] += 1
        row["seconds"] += taken
        row["floor_seconds"] += cost.seconds(ceilings)
        row["bound"] = cost.bound(ceilings)
        row["model"].append(predicted.get(step.kernel))
    for row in rows.values():
        model = row.pop("model")
        if None not in model:
            row["model_seconds"] = sum(model)
    return sorted(rows.values(), key=lambda row: -row["seconds"])


def _moved(value: Value, tokens: int) -> float:
    """Bytes of a weight, or of the live rows of an activation; pools are counted by their ops."""
    if value.kind is ValueKind.WEIGHT:
        return float(_elements(value.shape) * value.dtype.itemsize)
    if value.kind is ValueKind.ACTIVATION:
        return float(tokens * _elements(value.shape[1:]) * value.dtype.itemsize)
    return 0.0


def _products(artifact: Artifact, names: Iterable[str]) -> int:
    """Values of the matrices among the arguments: each takes part in one product a token."""
    tensors = artifact.manifest.tensors
    found = (tensors.get(name.removesuffix(".codes")) for name in names)
    return sum(prod(info.shape) for info in found if info is not None and len(info.shape) == 2)


def _elements(shape: tuple[object, ...]) -> int:
    return prod(dim for dim in shape if isinstance(dim, int))
