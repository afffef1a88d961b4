"""A tuned library in place of an artifact's own."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from sala_compile.runtime.artifact import Artifact, Phase, Program, Value, ValueKind
from sala_compile.runtime.artifact.contract import workspaces_digest
from sala_compile.runtime.artifact.tuning import (
    Tuning,
    checked_library,
    read_tuning,
    tuned_workspaces,
)
from sala_compile.runtime.errors import ArtifactError


def with_tuning(artifact: Artifact, target: str, path: Path) -> Artifact:
    """The artifact with the library that sala-tune wrote next to the tuning file `path`.

    Kernels with other tiles need other workspaces, so the program changes with the library.
    ArtifactError if the file is damaged, or was made for another artifact or target.
    """
    tuning = read_tuning(path)
    _check(artifact, target, path, tuning)
    library = checked_library(path, tuning)
    workspaces = tuned_workspaces(tuning)
    return replace(
        artifact,
        program=with_workspaces(artifact.program, target, workspaces),
        libraries={**artifact.libraries, target: library},
        workspaces={**artifact.workspaces, target: workspaces_digest(workspaces)},
    )


def with_workspaces(
    program: Program, target: str, workspaces: Mapping[str, tuple[Value, ...]]
) -> Program:
    """The program with these workspaces for the steps of these kernels, in the order of the ABI."""
    changed: dict[str, Value] = {}
    for phase in program.targets[target].phases.values():
        changed |= _changed(phase, program, workspaces)
    return program.model_copy(update={"values": program.values | changed})


def _changed(
    phase: Phase, program: Program, workspaces: Mapping[str, tuple[Value, ...]]
) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for step in phase.steps:
        if step.kernel in workspaces:
            own = [
                name for name in step.arguments if program.values[name].kind is ValueKind.WORKSPACE
            ]
            values |= zip(own, workspaces[step.kernel], strict=True)
    return values


def _check(artifact: Artifact, target: str, path: Path, tuning: Tuning) -> None:
    for name, found, expected in (
        ("artifact", tuning.artifact, artifact.manifest.digest),
        ("target", tuning.target, target),
    ):
        if found != expected:
            raise ArtifactError(
                f"the tuning is for another {name}: {found[:16]}",
                where=str(path),
                expected=f"{expected[:16]}, which is loaded from {artifact.directory}",
                fix="tune this artifact with sala-tune, or compile it with --tuning",
            )
