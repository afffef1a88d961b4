"""Paths inside an artifact: relative, forward, and nowhere else."""

from pathlib import PurePosixPath

from sala_compile.runtime.errors import ArtifactError


def checked_relative(path: str) -> PurePosixPath:
    """`path` as a relative path that does not leave its directory; raises ArtifactError."""
    pure = PurePosixPath(path)
    plain = "\\" not in path and "\0" not in path and pure.as_posix() == path
    if pure.is_absolute() or not plain or not pure.parts or ".." in pure.parts:
        raise ArtifactError(
            f"the path {path!r} leaves the artifact",
            where="manifest.json",
            expected="relative paths without '..'",
            fix="do not use this artifact; get it again from its source",
        )
    return pure
