"""Whether a directory is an artifact and nothing else, so that a new one may take its place."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sala_compile.runtime.common.files import FileRule, shown
from sala_compile.runtime.common.json_text import is_object
from sala_compile.runtime.errors import ArtifactError, SalaError

MANIFEST_NAME = "manifest.json"
MAX_MANIFEST = 256 << 20
_LISTED = 3
"""Files that a message names."""
_MANIFEST = FileRule(what="the manifest", limit=MAX_MANIFEST, error=ArtifactError)


def require_replaceable(directory: Path) -> None:
    """Raise ArtifactError unless `directory` is new, empty, or wholly an earlier artifact.

    That is one with a manifest of our format, whichever version, and no file that it does not
    list. Its files may be damaged or missing. A link, a mount point and the current directory are
    never replaced.
    """
    if not os.path.lexists(directory):
        return
    if directory.is_symlink():
        raise _refused(directory, "is a symbolic link", f"name {os.path.realpath(directory)}")
    if not directory.is_dir():
        raise _refused(directory, "exists and is not an artifact")
    if os.path.ismount(directory):
        raise _refused(directory, "is a mount point", "name a directory below it")
    if _holds_current(directory):
        raise _refused(directory, "is, or holds, the current directory", "leave it first")
    entries = sorted(_files(directory, ""))
    if not entries:
        return
    ours = _listed(directory)
    if ours is None:
        raise _refused(directory, f"exists and is not an artifact: it holds {_some(entries)}")
    foreign = [name for name in entries if name not in ours]
    if foreign:
        raise _refused(
            directory,
            f"is not only an artifact: it holds {_some(foreign)} as well",
            "move that elsewhere, or choose another output path",
        )


def _files(directory: Path, prefix: str) -> Iterator[str]:
    """Relative names of all files below, and of empty directories with a slash at their end.

    What an artifact never has is added to the name, so that nothing listed is equal to it.
    """
    with os.scandir(directory) as entries:
        for entry in entries:
            name = prefix + entry.name
            if not entry.is_dir(follow_symlinks=False):
                is_file = entry.is_file(follow_symlinks=False)
                yield name if is_file else f"{name} (no regular file)"
            elif os.path.ismount(entry.path):
                yield f"{name}/ (a mount point)"
            else:
                yield from list(_files(Path(entry.path), f"{name}/")) or [f"{name}/"]


def _listed(directory: Path) -> set[str] | None:
    """The files and directories of the artifact here; None if the manifest is not ours."""
    try:
        document = json.loads(_MANIFEST.read(directory / MANIFEST_NAME))
    except (SalaError, ValueError, RecursionError):
        return None
    if not _is_ours(document):
        return None
    files = set(document["files"]) | {MANIFEST_NAME}
    return files | {f"{parent}/" for name in files for parent in Path(name).parents}


def _is_ours(document: Any) -> bool:
    """Whether a JSON document has what the manifests of every version have."""
    if not is_object(document):
        return False
    version, files = document.get("format"), document.get("files")
    return (
        is_object(version)
        and {"major", "minor"} <= version.keys()
        and isinstance(document.get("digest"), str)
        and {"model", "targets", "weight_files"} <= document.keys()
        and is_object(files)
        and all(is_object(info) and "sha256" in info for info in files.values())
    )


def _holds_current(directory: Path) -> bool:
    try:
        current = Path.cwd().resolve()
    except OSError:  # it was removed
        return False
    place = directory.resolve()
    return current == place or place in current.parents


def _some(names: list[str]) -> str:
    more = len(names) - _LISTED
    return ", ".join(map(shown, names[:_LISTED])) + (f" and {more} more" if more > 0 else "")


def _refused(directory: Path, found: str, fix: str = "choose another output path") -> ArtifactError:
    return ArtifactError(
        f"the output {found}",
        where=shown(directory),
        expected="a new path, an empty directory or an earlier artifact with nothing else in it",
        fix=fix,
    )
