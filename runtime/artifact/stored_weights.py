"""Stored weights, from wherever an artifact has them."""

from sala_compile.runtime.artifact import SEEDED, Artifact, MappedTensors, SeededTensors


def open_tensors(artifact: Artifact, file: str) -> MappedTensors | SeededTensors:
    """The tensors of a weight file, mapped; or those that are made from a seed."""
    seeded = artifact.manifest.seeded
    if file == SEEDED and seeded is not None:
        return SeededTensors(seeded)
    return MappedTensors(artifact.file(file))
