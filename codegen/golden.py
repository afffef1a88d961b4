"""The golden vectors of an artifact: the model's logits by the reference, and every kernel."""

import numpy as np

from codegen.lowering import Lowered
from codegen.options import CompileOptions
from codegen.plan import Plan
from codegen.progress import Progress
from codegen.vectors import kernel_vectors
from codegen.vectors.tensors import TensorStore
from passes.assign_precision import Precision
from runtime.artifact import Golden, GoldenKind, KernelVector, ModelVector, canonical_json
from runtime.artifact.writer import GOLDEN_NAME, GOLDEN_TENSORS_NAME, ArtifactWriter
from sala_ir.interpreter import ReferenceModel, RowSource
from sala_ir.reference import Rounding

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
) -> GoldenKind:
    """Write both golden files for the weights of `source`; what the logits come from.

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
        vocabulary = plan.source.config.vocab_size
        model = _model_vector(plan.lowered[0], vocabulary, source, options, store)
    golden = Golden(models=(model,), kernels=tuple(kernels))
    writer.write_bytes(GOLDEN_NAME, canonical_json(golden))
    with writer.tensors(GOLDEN_TENSORS_NAME, store.specs) as tensors:
        for name, values in store:
            tensors.write(name, values)
    return GoldenKind(kind="reference")


def _model_vector(
    lowered: Lowered,
    vocabulary: int,
    source: RowSource,
    options: CompileOptions,
    store: TensorStore,
) -> ModelVector:
    """Seeded token ids and their logits, in float64 with the roundings of the graph."""
    tokens = np.random.default_rng(0).integers(0, vocabulary, TOKENS)
    reference = ReferenceModel(lowered.operations, source, Rounding.ROUNDED)
    logits = np.asarray(reference.prefill(tokens.tolist()), np.float64)
    allowed = ALLOWED[options.dtype]
    if options.dtype is Precision.BFLOAT16:
        allowed *= float(logits.std())
    return ModelVector(
        name=f"{TOKENS} tokens",
        token_ids=store.add("model/token_ids", tokens, "int32"),
        logits=store.add("model/logits", logits, "float32"),
        absolute=allowed,
    )
