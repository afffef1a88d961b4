"""Runs an artifact's golden vectors on this machine."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import tvm_ffi

from sala_compile.runtime.artifact import (
    GOLDEN_TENSORS_NAME,
    Artifact,
    KernelVector,
    MappedTensors,
    ModelVector,
    OutputArgument,
    open_artifact,
    widen_bfloat16,
)
from sala_compile.runtime.common.threads import checked_threads
from sala_compile.runtime.devices.choose_device import choose_device
from sala_compile.runtime.devices.choose_target import runnable_targets
from sala_compile.runtime.devices.cpu.device import CpuDevice
from sala_compile.runtime.engine.logit_check import NotANumberError
from sala_compile.runtime.errors import ArtifactError
from sala_compile.runtime.golden.golden_call import GoldenCall, golden_call
from sala_compile.runtime.golden.golden_values import malformed
from sala_compile.runtime.loading import LoadRequest, plan_for
from sala_compile.runtime.model import Model


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
        """True if every element is as near as the vector demands."""
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
    """Check every hash, then run every golden vector with poisoned memory.

    Those of the model run on `device`, named as for `sala_compile.load`.

    A damaged artifact is an ArtifactError, a vector that does not hold a result that fails.
    """
    if isinstance(path, Artifact):
        artifact = path
        artifact.check_hashes()
    else:
        artifact = open_artifact(path, hash_weights=True)
    golden = artifact.golden()
    if not (golden.models or golden.kernels):
        return VerifyReport(())
    stored = MappedTensors(artifact.file(GOLDEN_TENSORS_NAME))
    workers = checked_threads(threads)
    runnable = runnable_targets(artifact)
    kernels = [
        _run_kernel(artifact, vector, stored, workers)
        for vector in golden.kernels
        if vector.target in runnable
    ]
    models = [_run_model(artifact, vector, stored, workers, device) for vector in golden.models]
    skipped = sorted({vector.target for vector in golden.kernels} - set(runnable))
    return VerifyReport((*models, *kernels), tuple(skipped))


@dataclass(frozen=True, slots=True)
class Comparison:
    """The largest difference, the largest excess over the allowed one, and what made them so."""

    difference: float
    excess: float
    problem: str | None = None


def compare(
    found: np.ndarray,
    expected: np.ndarray,
    *,
    absolute: float,
    relative: float,
    free: np.ndarray | None = None,
) -> Comparison:
    """Hold `found` against `expected`, elements that are `free` left out.

    A value that is no finite number, found or expected, never holds; nor does nothing at all.
    """
    compared = np.ones(expected.shape, bool) if free is None else ~free
    actual = np.asarray(found[compared], np.float64)
    wanted = np.asarray(expected[compared], np.float64)
    if not wanted.size:
        return Comparison(np.inf, np.inf, "no value is compared")
    for values, what in ((wanted, "expected"), (actual, "computed")):
        wrong = np.count_nonzero(~np.isfinite(values))
        if wrong:
            problem = f"{wrong} of {values.size} {what} values are NaN or infinite"
            return Comparison(np.inf, np.inf, problem)
    difference = np.abs(actual - wanted)
    excess = difference - (absolute + relative * np.abs(wanted))
    return Comparison(float(difference.max()), float(excess.max()))


def _run_model(
    artifact: Artifact,
    vector: ModelVector,
    stored: MappedTensors,
    threads: int,
    name: str | None,
) -> VectorResult:
    tokens, expected = _model_tensors(artifact, vector, stored)
    device = choose_device(artifact, name, None, threads)
    request = LoadRequest(
        context=len(tokens),
        batch=1,
        memory=None,
        threads=threads,
        chunk=None,
        sequences=1,
    )
    with ExitStack() as undo:
        undo.callback(device.close)
        plan = plan_for(artifact, device, request)
        undo.pop_all()
    with Model(artifact, plan, device, poison=True) as model:
        try:
            found = model.logits(tokens)[len(tokens) - len(expected) :]
        except NotANumberError as error:
            problem = f"{error.found}, {error.where}"
            return VectorResult(VectorKind.MODEL, vector.name, np.inf, np.inf, problem)
    compared = compare(found, expected, absolute=vector.absolute, relative=0.0)
    return _result(VectorKind.MODEL, vector.name, [compared])


def _model_tensors(
    artifact: Artifact, vector: ModelVector, stored: MappedTensors
) -> tuple[np.ndarray, np.ndarray]:
    """Token ids and logits of a vector, of the shapes that belong together."""
    tokens, expected = stored.array(vector.token_ids), stored.array(vector.logits)
    width = artifact.manifest.model.vocabulary
    if tokens.dtype.kind != "i" or tokens.ndim != 1 or not len(tokens):
        raise _unfit(vector, vector.token_ids, tokens, "int32 [tokens], at least one")
    whole = expected.dtype == np.float32 and expected.ndim == 2 and expected.shape[1] == width
    if not whole or not 0 < len(expected) <= len(tokens):
        wanted = f"float32 [1 to {len(tokens)}, {width}]"
        raise _unfit(vector, vector.logits, expected, wanted)
    return tokens, expected


def _unfit(
    vector: ModelVector | KernelVector, name: str, found: np.ndarray, expected: str
) -> ArtifactError:
    kind = f"{found.dtype}{list(found.shape)}"
    return malformed(f"{name} is {kind}", expected, f"golden.json: {vector.name}")


def _result(kind: VectorKind, name: str, parts: Sequence[Comparison]) -> VectorResult:
    """The worst of several comparisons; without any, nothing holds."""
    if not parts:
        return VectorResult(kind, name, np.inf, np.inf, "no value is compared")
    return VectorResult(
        kind,
        name,
        max(part.difference for part in parts),
        max(part.excess for part in parts),
        next((part.problem for part in parts if part.problem), None),
    )


def _run_kernel(
    artifact: Artifact, vector: KernelVector, stored: MappedTensors, threads: int
) -> VectorResult:
    device = CpuDevice(artifact, vector.target, threads)
    device.open()
    call = golden_call(artifact, vector, stored, threads)
    device.use_threads()
    kernel = device.kernel(vector.kernel)
    try:
        kernel(*(tvm_ffi.from_dlpack(buffer) for buffer in call.buffers))
    except Exception as error:  # kernels raise what TVM raises
        reason = str(error).strip().splitlines()[-1]
        raise malformed(
            f"{vector.kernel} refuses its arguments: {reason}", where=f"golden.json: {vector.name}"
        ) from None
    parts = [
        _compare_output(call, argument, buffer)
        for argument, buffer in zip(vector.arguments, call.buffers, strict=True)
        if isinstance(argument, OutputArgument)
    ]
    return _result(VectorKind.KERNEL, vector.name, parts)


def _compare_output(call: GoldenCall, argument: OutputArgument, buffer: np.ndarray) -> Comparison:
    expected = call.values.logical(argument.expected)
    if expected.ndim != buffer.ndim or any(
        part > whole for part, whole in zip(expected.shape, buffer.shape, strict=True)
    ):
        wanted = f"a leading part of {list(buffer.shape)}"
        raise _unfit(call.vector, argument.expected, expected, wanted)
    part = tuple(slice(extent) for extent in expected.shape)
    leading, unwritten = buffer[part], call.values.unwritten(argument)
    return compare(
        widen_bfloat16(leading) if argument.dtype == "bfloat16" else leading,
        expected,
        absolute=argument.absolute,
        relative=argument.relative,
        free=None if unwritten is None else unwritten[part] & np.isnan(expected),
    )
