"""Paths inside an artifact: relative, forward, and nowhere else."""

import stat
from pathlib import Path, PurePosixPath

from runtime.errors import ArtifactError


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


def regular_file(root: Path, path: str) -> Path:
    """The regular file `path` under `root`, reached without any symbolic link."""
    current = root
    parts = checked_relative(path).parts
    for index, part in enumerate(parts):
        current = current / part
        try:
            mode = current.lstat().st_mode
        except OSError as error:
            raise ArtifactError(
                "a file of the artifact is missing",
                where=str(current),
                expected="every file that manifest.json lists",
                fix="copy the whole directory, or compile again",
            ) from error
        wanted = stat.S_ISREG(mode) if index == len(parts) - 1 else stat.S_ISDIR(mode)
        if not wanted:
            raise ArtifactError(
                f"{path} is a link or not a regular file",
                where=str(current),
                expected="regular files inside the artifact only",
                fix="copy the artifact with its files, not with links to them",
            )
    return current
