"""The golden files of an artifact: a step by the reference, and what kernels do in it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
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
from sala_compile.passes.assign_precision import Precision
from sala_compile.passes.support.functions import argument_names
from sala_compile.runtime.artifact import (
    ActivationEffect,
    Golden,
    GoldenKind,
    GoldenSequence,
    KernelVector,
    canonical_json,
)
from sala_compile.runtime.artifact.writer import GOLDEN_NAME, GOLDEN_TENSORS_NAME, ArtifactWriter
from sala_compile.runtime.errors import CompileError
from sala_compile.sala_ir.dialect import LinearOp
from sala_compile.sala_ir.dialect.types import StateType
from sala_compile.sala_ir.interpreter import NewTokens, ReferenceModel, RowSource
from sala_compile.sala_ir.reference import Rounding

SEED = 0
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

    Where a target rounds activations to integers, every sequence is in it twice: as it is,
    then rounded. Reading the weights takes most of the time.
    """

    def __init__(
        self, group: Sequence[Lowered], plan: Plan, source: RowSource, progress: Progress
    ) -> None:
        """Run the step for targets whose operations are the same."""
        lowered = group[0]
        self.parts = golden_parts(lowered.operations)
        self.rounds = _rounds_activations(lowered)
        random = np.random.default_rng(SEED)
        vocabulary = plan.source.facts.vocabulary
        self._tokens = [random.integers(0, vocabulary, part.count) for part in self.parts]
        copies = 2 if self.rounds else 1
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
                wide_rows=total,
                listeners=(self.recorder,),
            )
            reference.lengths |= slots
            self._logits = [np.asarray(rows, np.float64) for rows in reference.step(new)]

    def sequences(
        self, options: CompileOptions, store: TensorStore, effect: ActivationEffect | None
    ) -> tuple[GoldenSequence, ...]:
        """The sequences with their logits; integer activations are allowed their effect on top."""
        found: list[GoldenSequence] = []
        for part, tokens, logits in zip(self.parts, self._tokens, self._logits, strict=False):
            if not np.isfinite(logits).all():
                raise CompileError(
                    "the reference computes logits that are not finite numbers",
                    where=f"golden vectors of the model: {part.name}",
                    expected="a checkpoint that gives finite logits",
                    fix="look for weights that are NaN, infinite or very large, or take another "
                    "checkpoint",
                )
            allowed = ALLOWED[options.dtype]
            if options.dtype is Precision.BFLOAT16:
                allowed *= float(self._logits[0].std())
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

    def effect(self) -> ActivationEffect | None:
        """How far integer activations move the logits of the first sequence, if there are such."""
        if not self.rounds:
            return None
        wide, rounded = self._logits[0], self._logits[len(self.parts)]
        moved = rounded - wide
        changed = np.count_nonzero(wide.argmax(axis=1) != rounded.argmax(axis=1))
        return ActivationEffect(
            tokens=len(wide),
            largest=_digits(np.abs(moved).max()),
            rms=_digits(np.sqrt(np.mean(moved**2))),
            deviation=_digits(wide.std()),
            changed=int(changed),
        )


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


def _digits(value: float) -> float:
    return float(f"{value:.4g}")
