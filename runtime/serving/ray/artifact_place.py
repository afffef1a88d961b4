"""Artifacts by path or URL: each node has one copy, which its replicas share as file pages."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from sala_compile.runtime.artifact.manifest import Manifest
from sala_compile.runtime.errors import ArtifactError
from sala_compile.runtime.serving.kept.url_files import UrlFiles, is_url

CACHE = "SALA_ARTIFACTS"
"""The variable that names the directory of a node's copies; ~/.cache/sala-compile without it."""
_MANIFEST = "manifest.json"
_MOST = 64 << 20
_PIECE = 8 << 20


def local_artifact(place: str) -> Path:
    """The directory of an artifact; one at a URL is copied to this node first, once.

    Each file is compared with the size and the SHA-256 of the manifest while it comes, the weights
    as well. ArtifactError for what does not hold, OSError for what cannot be read or written.
    """
    if not is_url(place):
        return Path(place)
    files = UrlFiles(place)
    manifest = _manifest(files)
    known = Manifest.model_validate_json(manifest)
    name = PurePosixPath(files.url.partition("://")[2]).name
    folder = _cache() / sha256(manifest).hexdigest()[:32]
    target = folder / name
    with _locked(folder):
        if target.is_dir():
            return target
        with TemporaryDirectory(prefix="copy-", dir=folder) as staged:
            whole = Path(staged) / name
            whole.mkdir()
            for file, info in known.files.items():
                _fetch(files, file, whole / file, info.size, info.sha256)
            (whole / _MANIFEST).write_bytes(manifest)
            whole.rename(target)
    return target


def _cache() -> Path:
    given = os.environ.get(CACHE)
    return Path(given) if given else Path.home() / ".cache" / "sala-compile" / "artifacts"


def _manifest(files: UrlFiles) -> bytes:
    size = files.size(_MANIFEST)
    if size is None or size > _MOST:
        found = "there is no artifact" if size is None else f"its manifest has {size} bytes"
        raise ArtifactError(found, where=files.url, expected="the URL of a directory NAME.sala")
    return files.read(_MANIFEST)


def _fetch(files: UrlFiles, name: str, target: Path, size: int, digest: str) -> None:
    """Copy one file piece by piece; the name is one that a manifest may have."""
    target.parent.mkdir(parents=True, exist_ok=True)
    found, sum = 0, sha256()
    with files.open(name) as source, target.open("wb") as copy:
        while piece := source.read(_PIECE):
            found += len(piece)
            if found > size:
                break
            sum.update(piece)
            copy.write(piece)
        copy.flush()
        os.fsync(copy.fileno())
    if found != size or sum.hexdigest() != digest:
        raise ArtifactError(
            "a file of the artifact does not have the contents that its manifest names",
            where=files.where(name),
            expected=f"{size} bytes of SHA-256 {digest}",
            fix="copy the artifact to the URL again",
        )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process of this node at a time; the others find what it made."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "copy.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for left in folder.glob("copy-*"):
            shutil.rmtree(left, ignore_errors=True)  # of one that was killed
        yield
