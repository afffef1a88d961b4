"""Whether manifest, program and weight files belong together."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sala_compile.runtime.artifact.dims import Dim
from sala_compile.runtime.artifact.manifest import Manifest
from sala_compile.runtime.artifact.program import Program, Step, Value, ValueKind
from sala_compile.runtime.artifact.shapes import check_shapes
from sala_compile.runtime.common.safetensors_format import STORED_TYPES, StoredTensor

Weights = Mapping[str, tuple[str, StoredTensor]]
"""The stored tensors by name: the file of each, and its place there."""
_MANIFEST, _PROGRAM = "manifest.json", "program.json"


@dataclass(frozen=True, slots=True)
class Disagreement:
    """What was found in a file of the artifact, and what the other files expect there."""

    file: str
    found: str
    expected: str | None = None


def disagreement(manifest: Manifest, program: Program, weights: Weights) -> Disagreement | None:
    """The first thing in which they do not agree; None if they do."""
    return next(_disagreements(manifest, program, weights), None)


def _disagreements(
    manifest: Manifest, program: Program, weights: Weights
) -> Iterator[Disagreement]:
    try:
        check_shapes(program)
    except ValueError as error:
        yield Disagreement(_PROGRAM, str(error))
    for name, target in program.targets.items():
        info = manifest.targets.get(name)
        if info is None or info.library != target.library:
            found = f"program and manifest disagree about the library of target {name}"
            yield Disagreement(_PROGRAM, found)
            continue
        for path in filter(None, (info.library, info.runtime)):
            if path not in manifest.files:
                yield Disagreement(path, "the file is not listed in manifest.json")
    for name, value in program.values.items():
        if value.kind is ValueKind.WEIGHT:
            yield from _weight(name, value, weights)
    yield from _vocabulary(manifest.model.vocabulary, program)


def _weight(name: str, value: Value, weights: Weights) -> Iterator[Disagreement]:
    if name not in weights:
        yield Disagreement("", f"the weight {name} is in none of the weight files")
        return
    file, stored = weights[name]
    fits = STORED_TYPES[stored.spec.dtype].itemsize == value.dtype.itemsize
    if stored.spec.shape != value.shape or not fits:
        found = f"{name} is {stored.spec.dtype}{list(stored.spec.shape)}"
        yield Disagreement(file, found, f"{value.dtype.value}{list(value.shape)}")


def _vocabulary(size: int, program: Program) -> Iterator[Disagreement]:
    """Check that the embedding has a row, and the logits a column, for every token id."""
    extents = {program.logits: program.values[program.logits].shape[-1]}
    for step in _steps(program):
        if step.family.startswith("embedding"):
            weights = (name for name in step.arguments if _is_matrix(program.values[name]))
            extents |= {name: _rows(program.values[name].shape) for name in weights}
    for name, extent in extents.items():
        if isinstance(extent, int) and extent < size:
            found = f"model.vocabulary: there are {size} token ids, {name} has {extent}"
            yield Disagreement(_MANIFEST, found, f"at most {extent}")


def _rows(shape: tuple[Dim, ...]) -> Dim:
    """Rows of a matrix: [rows, columns], or in panels [panels, columns / p, rows of one, p]."""
    first, inside = shape[0], shape[2] if len(shape) > 2 else 1
    return first * inside if isinstance(first, int) and isinstance(inside, int) else first


def _steps(program: Program) -> Iterator[Step]:
    for target in program.targets.values():
        for phase in target.phases.values():
            yield from phase.steps


def _is_matrix(value: Value) -> bool:
    return value.kind is ValueKind.WEIGHT and len(value.shape) > 1
