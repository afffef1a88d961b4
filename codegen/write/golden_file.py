"""The golden vectors of an artifact: the model's logits by the reference, and every kernel."""

import numpy as np

from sala_compile.codegen.lowering import Lowered
from sala_compile.codegen.options import CompileOptions
from sala_compile.codegen.plan import Plan
from sala_compile.codegen.progress import Progress
from sala_compile.codegen.vectors import kernel_vectors
from sala_compile.codegen.vectors.tensors import TensorStore
from sala_compile.passes.assign_precision import Precision
from sala_compile.runtime.artifact import (
    ActivationEffect,
    Golden,
    GoldenKind,
    KernelVector,
    ModelVector,
    canonical_json,
)
from sala_compile.runtime.artifact.writer import GOLDEN_NAME, GOLDEN_TENSORS_NAME, ArtifactWriter
from sala_compile.runtime.errors import CompileError
from sala_compile.sala_ir.dialect import LinearOp
from sala_compile.sala_ir.interpreter import NewTokens, ReferenceModel, RowSource
from sala_compile.sala_ir.reference import Rounding

TOKENS = 12
"""Tokens of the model's vector: every layer runs, and a large checkpoint is read once."""
ALLOWED = {Precision.FLOAT32: 1e-3, Precision.BFLOAT16: 0.05}
"""Largest difference of a logit: absolute in float32, in standard deviations in bfloat16."""


def write_golden(
    writer: ArtifactWriter,
    plan: Plan,
    options: CompileOptions,
    source: RowSource,
    progress: Progress,
) -> tuple[GoldenKind, ActivationEffect | None]:
    """Write both golden files for the weights of `source`.

    Returns what the logits come from, and what integer activations change in them.

    The kernels' vectors are in the layouts of the CPU's kernels; a GPU is held to the logits.
    """
    store = TensorStore()
    kernels: list[KernelVector] = []
    processors = [lowered for lowered in plan.lowered if lowered.target.kind == "cpu"]
    total = sum(len(lowered.kernels) for lowered in processors)
    with progress.stage("golden vectors of the kernels", total, unit="kernels") as advance:
        for lowered in processors:
            for vector in kernel_vectors(lowered, plan.weights, source, store):
                kernels.append(vector)
                advance(1)
    with progress.stage("golden logits by the reference"):
        model, effect = _model_vector(plan, source, options, store)
    golden = Golden(models=(model,), kernels=tuple(kernels))
    writer.write_bytes(GOLDEN_NAME, canonical_json(golden))
    with writer.tensors(GOLDEN_TENSORS_NAME, store.specs) as tensors:
        for name, values in store:
            tensors.write(name, values)
    return GoldenKind(kind="reference"), effect


def _model_vector(
    plan: Plan, source: RowSource, options: CompileOptions, store: TensorStore
) -> tuple[ModelVector, ActivationEffect | None]:
    """Seeded token ids and their logits, in float64 with the roundings of the graph.

    Integer activations are none of these: what they change is allowed on top.
    """
    vocabulary = plan.source.facts.vocabulary
    tokens = np.random.default_rng(0).integers(0, vocabulary, TOKENS)
    logits, effect = _logits(plan, source, tokens.tolist())
    if not np.isfinite(logits).all():
        raise CompileError(
            "the reference computes logits that are not finite numbers",
            where="golden vectors of the model",
            expected="a checkpoint that gives finite logits",
            fix="look for weights that are NaN, infinite or very large, or take another checkpoint",
        )
    allowed = ALLOWED[options.dtype]
    if options.dtype is Precision.BFLOAT16:
        allowed *= float(logits.std())
    if effect is not None:
        allowed += effect.largest
    vector = ModelVector(
        name=f"{TOKENS} tokens",
        token_ids=store.add("model/token_ids", tokens, "int32"),
        logits=store.add("model/logits", logits, "float32"),
        absolute=allowed,
    )
    return vector, effect


def _logits(
    plan: Plan, source: RowSource, tokens: list[int]
) -> tuple[np.ndarray, ActivationEffect | None]:
    """The logits of the tokens, and what integer activations change in them.

    Both are computed in one run, in which the tokens stand twice: reading the weights takes most
    of the time.
    """
    rounding = next((entry for entry in plan.lowered if _rounds_activations(entry)), None)
    lowered = rounding or plan.lowered[0]
    reference = ReferenceModel(lowered.operations, source, Rounding.ROUNDED, wide_rows=len(tokens))
    slots = (0,) if rounding is None else (0, 1)
    found = reference.step([NewTokens(slot, tokens) for slot in slots])
    logits = [np.asarray(rows, np.float64) for rows in found]
    return logits[0], None if rounding is None else _effect(*logits)


def _rounds_activations(lowered: Lowered) -> bool:
    return any(
        isinstance(op, LinearOp) and op.activation_group.value.data
        for op in lowered.operations.walk()
    )


def _effect(wide: np.ndarray, rounded: np.ndarray) -> ActivationEffect:
    """How far logits [tokens, vocabulary] move."""
    moved = rounded - wide
    changed = np.count_nonzero(wide.argmax(axis=1) != rounded.argmax(axis=1))
    return ActivationEffect(
        tokens=len(wide),
        largest=_digits(np.abs(moved).max()),
        rms=_digits(np.sqrt(np.mean(moved**2))),
        deviation=_digits(wide.std()),
        changed=int(changed),
    )


def _digits(value: float) -> float:
    return float(f"{value:.4g}")
