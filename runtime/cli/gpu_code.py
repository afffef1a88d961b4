"""The code of GPU targets as sala-inspect shows it: what every launch takes of a GPU."""

from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from sala_compile.runtime.artifact import GpuLibrary, LaunchInfo, is_gpu
from sala_compile.runtime.artifact.occupancy import MULTIPROCESSORS, blocks_by_limit
from sala_compile.runtime.artifact.reader import Artifact
from sala_compile.runtime.cli.common import table
from sala_compile.runtime.common.units import format_bytes

CODE = ("threads", "registers", "spill_bytes", "shared_bytes", "tensor_columns", "warnings")
"""What is reported of a launch, all but the bytes for a thread or a block of threads."""


def _gpu_targets(artifact: Artifact) -> list[str]:
    return [name for name in artifact.program.targets if is_gpu(name)]


def launches_of(artifact: Artifact) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """The launches of GPU kernels by (target, symbol)."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for target in _gpu_targets(artifact):
        library = artifact.gpu_library(target)
        for symbol, kernel in library.kernels.items():
            each = (_document(launch, library.architecture) for launch in kernel.launches())
            found[(target, symbol)] = list(each)
    return found


def _document(launch: LaunchInfo, architecture: str) -> dict[str, Any]:
    """A launch for programs; `blocks` are those of a multiprocessor, `limited_by` says why."""
    document = launch.model_dump(mode="json", include={"entry", "size", *CODE})
    if architecture not in MULTIPROCESSORS:
        return document | {"blocks": None, "limited_by": None}
    limits = blocks_by_limit(launch, architecture)
    least = min(limits, key=lambda name: limits[name])
    return document | {"blocks": limits[least], "limited_by": least}


def code_views(artifact: Artifact) -> list[RenderableType]:
    """A table for each GPU target, and below it what its assembler warned of."""
    views: list[RenderableType] = []
    for target in _gpu_targets(artifact):
        library = artifact.gpu_library(target)
        views.append(_code_table(target, library))
        warnings = _warnings(library)
        if warnings:
            views.append(Text("\n".join(warnings)))
    return views


def _code_table(target: str, library: GpuLibrary) -> Table:
    title = (
        f"\ncode for {target}, assembled by CUDA {library.toolkit} for drivers of CUDA "
        f"{library.driver // 1000}.{library.driver % 1000 // 10} and newer"
    )
    numbers = ("threads", "registers", "spilled", "shared", "blocks", "code")
    made = table(title, "kernel", "function", *numbers, "limit", "warnings", numbers=numbers)
    for symbol, kernel in library.kernels.items():
        for launch in kernel.launches():
            known = _document(launch, library.architecture)
            made.add_row(
                symbol,
                launch.entry,
                str(launch.threads),
                str(launch.registers),
                *map(format_bytes, (launch.spill_bytes, launch.shared_bytes)),
                str(known["blocks"] or ""),
                format_bytes(launch.size),
                known["limited_by"] or "",
                ", ".join(map(_number, launch.warnings)),
            )
    return made


def _warnings(library: GpuLibrary) -> list[str]:
    """Every warning once, in order."""
    launches = (each for kernel in library.kernels.values() for each in kernel.launches())
    return sorted({warning for launch in launches for warning in launch.warnings})


def _number(warning: str) -> str:
    """`C7515` of `C7515: what it means`; a warning without a number is a `note`."""
    number, colon, _ = warning.partition(": ")
    return number if colon and number[1:].isdigit() else "note"
