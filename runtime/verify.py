"""Runs an artifact's golden vectors on this machine."""

from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from math import prod
from pathlib import Path

import numpy as np
import tvm_ffi

from runtime.artifact import (
    GOLDEN_TENSORS_NAME,
    Artifact,
    KernelVector,
    LiteralArgument,
    MappedTensors,
    ModelVector,
    OutputArgument,
    RandomArgument,
    ScratchArgument,
    StoredArgument,
    ThreadsArgument,
    WeightArgument,
    align,
    narrow_bfloat16,
    open_artifact,
    seeded_values,
    widen_bfloat16,
)
from runtime.artifact.base import ALIGNMENT
from runtime.artifact.golden import Argument
from runtime.choose_device import choose_device
from runtime.cpu.device import CpuDevice
from runtime.device import POISON
from runtime.errors import ArtifactError
from runtime.loading import LoadRequest, plan_for
from runtime.model import Model
from runtime.targets import runnable_targets
from runtime.threads import checked_threads


class VectorKind(StrEnum):
    """What a vector exercises."""

    MODEL = "model"
    KERNEL = "kernel"


@dataclass(frozen=True, slots=True)
class VectorResult:
    """One vector: the largest difference found, and by how much it exceeds what is allowed.

    `excess` is max(|found - expected| - allowed); the vector passes if it is at most 0. Both are
    infinite where a number was expected and none was found.
    """

    kind: VectorKind
    name: str
    difference: float
    excess: float

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

    Those of the model run on `device`, named as for `runtime.load`.

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
    stored = MappedTensors(artifact.path(GOLDEN_TENSORS_NAME))
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


def compare(
    found: np.ndarray, expected: np.ndarray, *, absolute: float, relative: float
) -> tuple[float, float]:
    """The largest difference and the largest excess over the allowed one; NaN expected is free."""
    free = np.isnan(expected) if expected.dtype.kind == "f" else np.zeros(expected.shape, bool)
    if free.all():
        return 0.0, 0.0
    wanted = expected[~free].astype(np.float64)
    with np.errstate(invalid="ignore"):
        difference = np.abs(found[~free].astype(np.float64) - wanted)
    difference[wanted == found[~free]] = 0.0  # equal infinities
    difference[np.isnan(difference)] = np.inf
    allowed = np.full(wanted.shape, absolute, np.float64)
    finite = np.isfinite(wanted)
    allowed[finite] += relative * np.abs(wanted[finite])
    excess = difference - allowed
    return float(difference.max()), float(excess.max())


def _run_model(
    artifact: Artifact,
    vector: ModelVector,
    stored: MappedTensors,
    threads: int,
    name: str | None,
) -> VectorResult:
    tokens = stored.array(vector.token_ids)
    expected = stored.array(vector.logits)
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
        found = model.logits(tokens)[len(tokens) - len(expected) :]
    difference, excess = compare(found, expected, absolute=vector.absolute, relative=0.0)
    return VectorResult(VectorKind.MODEL, vector.name, difference, excess)


def _run_kernel(
    artifact: Artifact, vector: KernelVector, stored: MappedTensors, threads: int
) -> VectorResult:
    device = CpuDevice(artifact, vector.target, threads)
    device.open()
    buffers = [_buffer(argument, artifact, stored, threads) for argument in vector.arguments]
    device.use_threads()
    device.kernel(vector.kernel)(*(tvm_ffi.from_dlpack(buffer) for buffer in buffers))
    worst = (0.0, -np.inf)
    for argument, buffer in zip(vector.arguments, buffers, strict=True):
        if isinstance(argument, OutputArgument):
            difference, excess = _compare_output(vector, argument, buffer, stored)
            worst = max(worst[0], difference), max(worst[1], excess)
    return VectorResult(VectorKind.KERNEL, vector.name, float(worst[0]), float(worst[1]))


def _compare_output(
    vector: KernelVector, argument: OutputArgument, buffer: np.ndarray, stored: MappedTensors
) -> tuple[float, float]:
    expected = _logical(stored, argument.expected)
    if expected.ndim != buffer.ndim or any(
        part > whole for part, whole in zip(expected.shape, buffer.shape, strict=True)
    ):
        raise ArtifactError(
            f"{argument.expected} has the shape {list(expected.shape)}",
            where=f"golden.json: {vector.name}",
            expected=f"a leading part of {list(buffer.shape)}",
            fix="compile again",
        )
    leading = buffer[tuple(slice(extent) for extent in expected.shape)]
    found = widen_bfloat16(leading) if argument.dtype == "bfloat16" else leading
    return compare(found, expected, absolute=argument.absolute, relative=argument.relative)


def _weight(artifact: Artifact, name: str) -> np.ndarray:
    """A stored weight as the kernels get it, mapped."""
    if name not in artifact.weights:
        raise ArtifactError(
            f"there is no weight {name!r}",
            where="golden.json",
            expected="a weight of the program",
            fix="compile again",
        )
    path, _ = artifact.weights[name]
    stored = MappedTensors(artifact.path(path)).array(name)
    return stored.view(artifact.program.values[name].dtype.numpy)


def _buffer(
    argument: Argument, artifact: Artifact, stored: MappedTensors, threads: int
) -> np.ndarray:
    """An aligned array with the argument's initial values; bfloat16 as uint16."""
    match argument:
        case WeightArgument():
            return _weight(artifact, argument.tensor)
        case StoredArgument():
            return _aligned(stored.array(argument.tensor))
        case RandomArgument():
            values = seeded_values(argument)
            return _aligned(narrow_bfloat16(values) if argument.dtype == "bfloat16" else values)
        case LiteralArgument():
            return _aligned(_literal(argument))
        case ThreadsArgument():
            control = np.array(argument.values, np.int32)
            control[3] = threads
            return _aligned(control)
        case ScratchArgument():
            return _poisoned((threads, argument.columns), argument.dtype)
        case OutputArgument():
            if argument.initial is not None:
                return _buffer(argument.initial, artifact, stored, threads)
            return _poisoned(argument.shape, argument.dtype)


def _literal(argument: LiteralArgument) -> np.ndarray:
    narrow = argument.dtype == "bfloat16"
    values = np.array(argument.values, np.float32 if narrow else argument.dtype)
    if len(values) == 1:
        values = np.broadcast_to(values, argument.shape)
    values = values.reshape(argument.shape)
    return narrow_bfloat16(values) if narrow else values


def _logical(stored: MappedTensors, name: str) -> np.ndarray:
    """A stored tensor by its meaning: bfloat16 as float32."""
    array = stored.array(name)
    return widen_bfloat16(array) if stored.stored[name].spec.dtype == "BF16" else array


def _poisoned(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    made = _empty(shape, np.dtype(np.uint16 if dtype == "bfloat16" else dtype))
    made.reshape(-1).view(np.uint8).fill(POISON)
    return made


def _aligned(values: np.ndarray) -> np.ndarray:
    made = _empty(values.shape, values.dtype)
    made[...] = values
    return made


def _empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    size = prod(shape) * dtype.itemsize
    memory = np.empty(align(size) + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)
