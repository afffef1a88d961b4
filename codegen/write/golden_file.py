"""The golden files of an artifact: a step by the reference, and what kernels do in it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from xdsl.dialects.builtin import bf16
from xdsl.dialects.func import FuncOp
from xdsl.ir import SSAValue

from sala_compile.codegen.lowering import Lowered
from sala_compile.codegen.options import CompileOptions
from sala_compile.codegen.plan import Plan
from sala_compile.codegen.progress import Progress
from sala_compile.codegen.vectors.recorder import (
    PHASES,
    RecordedRows,
    Recorder,
    VectorMaker,
    first_operations,
    kernel_operations,
)
from sala_compile.codegen.vectors.sequences import GoldenPart, golden_parts, seeded_state
from sala_compile.codegen.vectors.vector_file import TensorStore
from sala_compile.codegen.write.logit_effect import four_digits, logit_effect
from sala_compile.passes.assign_precision import Precision
from sala_compile.passes.support.functions import argument_names
from sala_compile.runtime.artifact import (
    Golden,
    GoldenKind,
    GoldenSequence,
    KernelVector,
    LogitEffect,
    canonical_json,
)
from sala_compile.runtime.artifact.writer import GOLDEN_NAME, GOLDEN_TENSORS_NAME, ArtifactWriter
from sala_compile.runtime.errors import CompileError
from sala_compile.sala_ir.dialect import LinearOp, element_of
from sala_compile.sala_ir.dialect.types import StateType
from sala_compile.sala_ir.interpreter import NewTokens, ReferenceModel, RowSource
from sala_compile.sala_ir.reference import Rounding

SEED = 0
ALLOWED = {Precision.FLOAT32: 1e-3, Precision.BFLOAT16: 0.05}
"""Largest difference of a logit: in standard deviations, of at least 1 in float32."""
ROUNDINGS = 2
"""It may also be so many times as large as what the roundings of the graph to bfloat16 change."""


def write_golden(
    writer: ArtifactWriter,
    plan: Plan,
    options: CompileOptions,
    source: RowSource,
    progress: Progress,
) -> tuple[GoldenKind, LogitEffect | None]:
    """Write both golden files for the weights of `source`.

    Returns what the logits come from, and what integer activations change in them.

    The kernels' vectors are of the CPU's kernels; a GPU is held to the logits.
    """
    store = TensorStore()
    groups: dict[str, list[Lowered]] = {}
    for lowered in plan.lowered:
        if lowered.target.kind == "cpu":
            groups.setdefault(str(lowered.operations), []).append(lowered)
    kernels: list[KernelVector] = []
    runs = []
    for number, group in enumerate(groups.values()):
        run = GoldenRun(group, plan, source, progress)
        runs.append(run)
        prefix = f"{number}/"
        maker = VectorMaker(run.recorder, group[0], run.rows, plan.program, store, prefix)
        for lowered in group:
            kernels += maker.vectors(lowered)
        run.recorder.values.clear()
    if not runs:
        runs = [GoldenRun(plan.lowered[:1], plan, source, progress)]
    chosen = next((run for run in runs if run.rounds), runs[0])
    effect = chosen.effect()
    golden = Golden(
        seed=SEED, sequences=chosen.sequences(options, store, effect), kernels=tuple(kernels)
    )
    writer.write_bytes(GOLDEN_NAME, canonical_json(golden))
    with writer.tensors(GOLDEN_TENSORS_NAME, store.specs) as tensors:
        for name, values in store:
            tensors.write(name, values)
    return GoldenKind(kind="reference"), effect


class GoldenRun:
    """One step of the reference over the golden sequences, in float64 with the graph's roundings.

    A graph of bfloat16 has every sequence twice: without its roundings, then with them, so that it
    shows how far they move the logits. Where a target rounds activations to integers, too, there is
    a last copy with that. Reading the weights takes most of the time.
    """

    def __init__(
        self, group: Sequence[Lowered], plan: Plan, source: RowSource, progress: Progress
    ) -> None:
        """Run the step for targets whose operations are the same."""
        lowered = group[0]
        self.parts = golden_parts(lowered.operations)
        self.rounds = _rounds_activations(lowered)
        has_exact = _is_narrow(lowered)
        random = np.random.default_rng(SEED)
        vocabulary = plan.source.facts.vocabulary
        self._tokens = [random.integers(0, vocabulary, part.count) for part in self.parts]
        copies = 1 + has_exact + self.rounds
        count, total = len(self.parts), sum(part.count for part in self.parts)
        wanted = _wanted_rows(self.parts)
        new = [
            NewTokens(copy * count + index, tokens.tolist(), part.call_length, rows)
            for copy in range(copies)
            for index, (part, tokens, rows) in enumerate(
                zip(self.parts, self._tokens, wanted, strict=True)
            )
        ]
        ends = np.cumsum([len(rows) for rows in wanted])
        first = (copies - 1) * total, (copies - 1) * int(ends[-1]), (copies - 1) * count
        self.rows = RecordedRows(
            self.parts,
            tokens=range(first[0], first[0] + total),
            logits=[first[1] + int(end) - 1 for end in ends],
            slots=range(first[2], first[2] + count),
        )
        slots = {part.slot: self.parts[part.slot % count].history for part in new}
        labels = _state_labels(lowered)

        def draw(state: SSAValue) -> dict[int, Any]:
            kind, label = state.type, labels[state]
            assert isinstance(kind, StateType)
            return {
                slot: seeded_state(label, kind, history, slot % count, SEED)
                for slot, history in slots.items()
                if history
            }

        kernels = [op for phase in PHASES for op in kernel_operations(lowered, phase)]
        with progress.stage("golden step by the reference", len(kernels), unit="ops") as advance:
            self.recorder = Recorder(draw, advance, frozenset(kernels), first_operations(group))
            reference = ReferenceModel(
                lowered.operations,
                source,
                Rounding.ROUNDED,
                wide_rows=(copies - 1) * total,
                copies=copies if has_exact else 1,
                listeners=(self.recorder,),
            )
            reference.lengths |= slots
            found = [np.asarray(rows, np.float64) for rows in reference.step(new)]
        self._exact = found[:count] if has_exact else None
        self._logits = found[has_exact * count :]

    def sequences(
        self, options: CompileOptions, store: TensorStore, effect: LogitEffect | None
    ) -> tuple[GoldenSequence, ...]:
        """The sequences with their logits; integer activations are allowed their effect on top."""
        found: list[GoldenSequence] = []
        deviation = float(self._logits[0].std())
        exact = self._exact or self._logits
        parts = zip(self.parts, self._tokens, self._logits, exact, strict=False)
        for part, tokens, logits, unrounded in parts:
            if not np.isfinite(logits).all():
                raise CompileError(
                    "the reference computes logits that are not finite numbers",
                    where=f"golden vectors of the model: {part.name}",
                    expected="a checkpoint that gives finite logits",
                    fix="look for weights that are NaN, infinite or very large, or take another "
                    "checkpoint",
                )
            least = 1.0 if options.dtype is Precision.FLOAT32 else 0.0
            allowed = ALLOWED[options.dtype] * max(deviation, least)
            allowed = max(allowed, ROUNDINGS * four_digits(np.abs(logits - unrounded).max()))
            if effect is not None:
                allowed += effect.largest
            found.append(
                GoldenSequence(
                    name=part.name,
                    token_ids=store.add(f"{part.name}/token_ids", tokens, "int32"),
                    logits=store.add(f"{part.name}/logits", logits, "float32"),
                    absolute=allowed,
                    history=part.history,
                    call_length=part.call_length,
                )
            )
        return tuple(found)

    def effect(self) -> LogitEffect | None:
        """How far integer activations move the logits of the first sequence, if there are such."""
        if not self.rounds:
            return None
        return logit_effect(self._logits[0], self._logits[len(self.parts)])


def _wanted_rows(parts: Sequence[GoldenPart]) -> list[list[int]]:
    """The tokens whose logits are wanted: of the first sequence all, of each other the last."""
    return [
        list(range(part.count)) if index == 0 else [part.count - 1]
        for index, part in enumerate(parts)
    ]


def _state_labels(lowered: Lowered) -> dict[SSAValue, str]:
    """The names of the states that functions begin with."""
    functions = (op for op in lowered.operations.ops if isinstance(op, FuncOp))
    return {state: name for func in functions for state, name in argument_names(func).items()}


def _rounds_activations(lowered: Lowered) -> bool:
    return any(
        isinstance(op, LinearOp) and op.activation_group.value.data
        for op in lowered.operations.walk()
    )


def _is_narrow(lowered: Lowered) -> bool:
    """Whether the graph has activations of bfloat16."""
    linears = (op for op in lowered.operations.walk() if isinstance(op, LinearOp))
    return any(element_of(op.x) == bf16 for op in linears)
