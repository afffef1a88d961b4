"""The code of GPU targets as sala-inspect shows it: what every launch takes of a GPU."""

from typing import Any

from rich.table import Table

from runtime.artifact import is_gpu
from runtime.artifact.reader import Artifact
from runtime.cli.common import table
from runtime.units import format_bytes

CODE = ("threads", "registers", "spill_bytes", "shared_bytes")
"""What is told of a launch, all but the bytes for a thread or a block of threads."""


def _gpu_targets(artifact: Artifact) -> list[str]:
    return [name for name in artifact.program.targets if is_gpu(name)]


def launches_of(artifact: Artifact) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """The launches of GPU kernels by (target, symbol)."""
    return {
        (target, symbol): [
            launch.model_dump(mode="json", include={"entry", "size", *CODE})
            for launch in kernel.launches()
        ]
        for target in _gpu_targets(artifact)
        for symbol, kernel in artifact.gpu_library(target).kernels.items()
    }


def code_tables(artifact: Artifact) -> list[Table]:
    """A table for each GPU target."""
    return [_code_table(artifact, target) for target in _gpu_targets(artifact)]


def _code_table(artifact: Artifact, target: str) -> Table:
    library = artifact.gpu_library(target)
    title = (
        f"\ncode for {target}, assembled by CUDA {library.toolkit} for drivers of CUDA "
        f"{library.driver // 1000}.{library.driver % 1000 // 10} and newer"
    )
    columns = ("threads", "registers", "spilled", "shared", "code")
    made = table(title, "kernel", "function", *columns, numbers=columns)
    for symbol, kernel in library.kernels.items():
        for launch in kernel.launches():
            made.add_row(
                symbol,
                launch.entry,
                str(launch.threads),
                str(launch.registers),
                *map(format_bytes, (launch.spill_bytes, launch.shared_bytes, launch.size)),
            )
    return made
