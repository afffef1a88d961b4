"""Runs an artifact's golden vectors on this machine."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np

from sala_compile.runtime.artifact import (
    GOLDEN_TENSORS_NAME,
    Artifact,
    Golden,
    GoldenSequence,
    MappedTensors,
    open_artifact,
)
from sala_compile.runtime.common.threads import checked_threads
from sala_compile.runtime.devices.choose_device import choose_device
from sala_compile.runtime.devices.choose_target import runnable_targets
from sala_compile.runtime.devices.device import Device
from sala_compile.runtime.engine.chunk import SequenceChunk
from sala_compile.runtime.engine.logit_check import NotANumberError
from sala_compile.runtime.golden.comparison import (
    Comparison,
    GoldenTensors,
    compare,
    malformed,
    worst,
)
from sala_compile.runtime.golden.drawn_state import draw_state
from sala_compile.runtime.golden.kernel_checks import KernelChecks
from sala_compile.runtime.loading import LoadRequest, plan_for
from sala_compile.runtime.model import Model
from sala_compile.runtime.state.state_layout import StateLayout
from sala_compile.runtime.state.store import State


class VectorKind(StrEnum):
    """What a vector exercises."""

    MODEL = "model"
    KERNEL = "kernel"


@dataclass(frozen=True, slots=True)
class VectorResult:
    """One vector: the largest difference found, and by how much it exceeds what is allowed.

    `excess` is max(|found - expected| - allowed); the vector passes if it is at most 0. Both are
    infinite where nothing can be compared, and `problem` says why.
    """

    kind: VectorKind
    name: str
    difference: float
    excess: float
    problem: str | None = None

    @property
    def passed(self) -> bool:
        """True if every element is as near as the vector requires."""
        return self.excess <= 0


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """The results of all vectors; no vectors at all do not pass.

    `skipped` names the targets whose kernels this machine cannot execute.
    """

    results: tuple[VectorResult, ...]
    skipped: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """True if there are vectors and all pass."""
        return bool(self.results) and all(result.passed for result in self.results)


def verify_artifact(
    path: str | Path | Artifact, *, threads: int | None = None, device: str | None = None
) -> VerifyReport:
    """Check every hash, then run the golden step with poisoned memory.

    The model runs on `device`, named as for `sala_compile.load`, and on every target of a processor
    whose kernels have vectors. A damaged artifact is an ArtifactError, a vector that does not hold
    a result that fails.
    """
    if isinstance(path, Artifact):
        artifact = path
        artifact.check_hashes()
    else:
        artifact = open_artifact(path, hash_weights=True)
    golden = artifact.golden()
    if not (golden.sequences or golden.kernels):
        return VerifyReport(())
    if not golden.sequences:
        raise malformed("there are vectors of kernels, and no sequences that they are run on")
    tensors = GoldenTensors(MappedTensors(artifact.file(GOLDEN_TENSORS_NAME)))
    workers = checked_threads(threads)
    chosen = choose_device(artifact, device, None, workers)
    runnable = runnable_targets(artifact)
    known = dict.fromkeys(vector.target for vector in golden.kernels)
    others = [name for name in known if name in runnable and name != chosen.target]
    results = GoldenStep(artifact, golden, tensors, chosen).results()
    for name in others:
        own = choose_device(artifact, None, name, workers)
        results += GoldenStep(artifact, golden, tensors, own).results(f", {name}")
    results.sort(key=lambda result: result.kind is VectorKind.KERNEL)
    return VerifyReport(tuple(results), tuple(sorted({*known} - {*runnable})))


class GoldenStep:
    """The golden step of an artifact on one device."""

    def __init__(
        self, artifact: Artifact, golden: Golden, tensors: GoldenTensors, device: Device
    ) -> None:
        """Check the sequences; ArtifactError for some that cannot be run. Takes the device."""
        self._artifact, self._golden, self._tensors = artifact, golden, tensors
        self._device = device
        self._layout = StateLayout(artifact.program, device.target)
        with ExitStack() as undo:
            undo.callback(device.close)
            self._sequences = [(each, *self._arrays(each)) for each in golden.sequences]
            self._plan = plan_for(artifact, device, self._request())
            undo.pop_all()

    def results(self, where: str = "") -> list[VectorResult]:
        """Run the sequences, then once more with the kernels held; `where` ends each name."""
        target = self._device.target
        mine = tuple(each for each in self._golden.kernels if each.target == target)
        with Model(self._artifact, self._plan, self._device, poison=True) as model:
            checks = KernelChecks(self._artifact, target, mine, self._tensors, model.memory)
            alone = [self._alone(model, *each) for each in self._sequences]
            together = self._together(model)
            if mine:
                with model.wrapped(checks.wrap):
                    self._together(model, checks)
        found = [
            _result(VectorKind.MODEL, vector.name + where, [*first, second])
            for (vector, _, _), first, second in zip(self._sequences, alone, together, strict=True)
        ]
        kernels = checks.found.items()
        return found + [_result(VectorKind.KERNEL, name + where, each) for name, each in kernels]

    def _alone(
        self, model: Model, vector: GoldenSequence, tokens: np.ndarray, logits: np.ndarray
    ) -> list[Comparison]:
        """A sequence without a history, through the model's own call."""
        if vector.history:
            return []
        try:
            found = model.logits(tokens)[len(tokens) - len(logits) :]
        except NotANumberError as error:
            return [Comparison(np.inf, np.inf, f"{error.found}, {error.where}")]
        return [compare(found, logits, absolute=vector.absolute)]

    def _together(self, model: Model, checks: KernelChecks | None = None) -> list[Comparison]:
        """All sequences in one step; of each the logits of the last token are compared."""
        engine = model.engine
        chunks = [
            SequenceChunk(
                self._begun(model, index, len(tokens)),
                tokens,
                vector.call_length or len(tokens),
                generated=bool(vector.history) and len(tokens) == 1,
                rows=(len(tokens) - 1,),
            )
            for index, (vector, tokens, _) in enumerate(self._sequences)
        ]
        results = engine.stepper.run(chunks)
        for index, chunk in enumerate(chunks):
            if checks is not None:
                history = self._sequences[index][0].history
                checks.compare_states(index, self._layout, chunk.state, history)
            engine.store.close(chunk.state)
        compared: list[Comparison] = []
        for result, (vector, _, logits) in zip(results, self._sequences, strict=True):
            assert result.logits is not None, "a row of each comes to the host"
            compared.append(compare(result.logits, logits[-1:], absolute=vector.absolute))
        return compared

    def _begun(self, model: Model, index: int, count: int) -> State:
        """A sequence with its drawn state, and pages for `count` tokens more."""
        engine, vector = model.engine, self._sequences[index][0]
        state = engine.store.open()
        engine.store.reserve(state, vector.history + count)
        if vector.history:
            path = engine.stepper.rule.path(vector.call_length)
            engine.store.grow(state, np.zeros(vector.history, np.int32), path)
            draw_state(self._layout, model.memory, state, self._golden.seed, index)
        return state

    def _request(self) -> LoadRequest:
        """The sizes for all sequences, and a step with all their tokens."""
        tokens = sum(len(tokens) for _, tokens, _ in self._sequences)
        longest = max(vector.history + len(tokens) for vector, tokens, _ in self._sequences)
        count = len(self._sequences)
        return LoadRequest(
            context=max(longest, tokens),
            batch=count,
            memory=None,
            threads=self._device.workers,
            chunk=max(self._artifact.manifest.chunk, tokens),
            sequences=count,
        )

    def _arrays(self, vector: GoldenSequence) -> tuple[np.ndarray, np.ndarray]:
        """Token ids and logits of a sequence, of matching shapes."""
        vocabulary = self._artifact.manifest.model.vocabulary
        where = f"golden.json: {vector.name}"
        tokens = self._tensors.array(vector.token_ids, np.dtype(np.int32), (2**24,), vector.name)
        if not len(tokens) or tokens.min() < 0 or tokens.max() >= vocabulary:
            raise malformed(
                f"{vector.token_ids} has {len(tokens)} ids, not all of them of tokens",
                f"one or more from 0 to {vocabulary - 1}",
                where,
            )
        capacity = (len(tokens), vocabulary)
        logits = self._tensors.array(vector.logits, np.dtype(np.float32), capacity, vector.name)
        if not len(logits) or logits.shape[1] != vocabulary:
            raise malformed(
                f"{vector.logits} is {list(logits.shape)}", f"[rows, {vocabulary}]", where
            )
        if vector.history and vector.call_length < vector.history + len(tokens):
            raise malformed(
                f"call_length is {vector.call_length}",
                f"{vector.history + len(tokens)} or more, the length after the step",
                where,
            )
        return tokens, logits


def _result(kind: VectorKind, name: str, parts: Sequence[Comparison]) -> VectorResult:
    found = worst(parts)
    return VectorResult(kind, name, found.difference, found.excess, found.problem)
