"""Which device runs an artifact."""

import re

from sala_compile.runtime.artifact import Artifact, is_gpu
from sala_compile.runtime.devices.choose_target import choose_target, cpu_targets
from sala_compile.runtime.devices.cpu.device import CpuDevice
from sala_compile.runtime.devices.device import Device
from sala_compile.runtime.errors import RequestError


def choose_device(artifact: Artifact, name: str | None, target: str | None, threads: int) -> Device:
    """The device `name` (`cpu`, `cuda`, `cuda:1`) for the artifact's `target`.

    By default, the CPU if the artifact has a target for one. ArtifactError or RequestError
    if the artifact, the device and the target do not fit together.
    """
    ordinal = _ordinal(artifact, name, target)
    if ordinal is None:
        return CpuDevice(artifact, choose_target(artifact, target), threads)
    from sala_compile.runtime.devices.cuda.device import (
        CudaDevice,  # machines without a GPU never need it
    )

    return CudaDevice(artifact, target, ordinal)


def tuned_target(artifact: Artifact, name: str | None, target: str | None) -> str:
    """The target that `choose_device` takes for the CPU, for which a tuned library is made.

    RequestError if it takes a GPU.
    """
    if _ordinal(artifact, name, target) is not None:
        raise RequestError(
            "a tuning has kernels of a processor, and a GPU is to run the model",
            where="tuning",
            expected="no tuning, or the device cpu",
            fix="leave the tuning out, or choose the device cpu",
        )
    return choose_target(artifact, target)


def _ordinal(artifact: Artifact, name: str | None, target: str | None) -> int | None:
    """The number of the GPU that is meant; None for the CPU."""
    ordinal = _named(artifact, name, target)
    if target is not None and is_gpu(target) is (ordinal is None):
        raise RequestError(
            f"the target {target} does not run on the device {name}",
            expected="a device and a target of one kind",
            fix="give only one of them",
        )
    return ordinal


def _named(artifact: Artifact, name: str | None, target: str | None) -> int | None:
    if name is None:
        gpu = is_gpu(target) if target is not None else not cpu_targets(artifact)
        return 0 if gpu else None
    if name == "cpu":
        return None
    match = re.fullmatch(r"cuda(?::(\d+))?", name)
    if match is None:
        raise RequestError(f"there is no device {name!r}", expected="cpu, cuda or cuda:1")
    return int(match[1] or 0)
