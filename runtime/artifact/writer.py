"""Writing an artifact so that a reader sees the old one or the new one, never a part of either."""

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sala_compile.runtime.artifact.format_model import ALIGNMENT, canonical_json
from sala_compile.runtime.artifact.manifest import FileInfo, Manifest
from sala_compile.runtime.artifact.owned import MANIFEST_NAME, require_replaceable
from sala_compile.runtime.artifact.paths import checked_relative
from sala_compile.runtime.artifact.replace import NotDurableError, put, sync_directory
from sala_compile.runtime.artifact.staging import staged_directory
from sala_compile.runtime.common.files import shown
from sala_compile.runtime.common.safetensors_format import TensorSpec
from sala_compile.runtime.common.safetensors_writer import TensorWriter
from sala_compile.runtime.common.units import format_bytes
from sala_compile.runtime.errors import ArtifactError

PROGRAM_NAME = "program.json"
GOLDEN_NAME = "golden.json"
GOLDEN_TENSORS_NAME = "golden.safetensors"


class ArtifactWriter:
    """Receives the files of an artifact; every path is relative, with forward slashes."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._files: dict[str, FileInfo] = {}

    def write_bytes(self, path: str, data: bytes) -> None:
        """Write one whole file."""
        with self._create(path).open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self._files[path] = FileInfo(size=len(data), sha256=hashlib.sha256(data).hexdigest())

    def copy_file(self, path: str, source: Path) -> None:
        """Copy `source`, byte for byte."""
        digest = hashlib.sha256()
        size = 0
        with source.open("rb") as origin, self._create(path).open("xb") as file:
            while piece := origin.read(1 << 20):
                file.write(piece)
                digest.update(piece)
                size += len(piece)
            file.flush()
            os.fsync(file.fileno())
        self._files[path] = FileInfo(size=size, sha256=digest.hexdigest())

    @contextmanager
    def tensors(self, path: str, specs: Iterable[TensorSpec]) -> Iterator[TensorWriter]:
        """Stream tensors into a padded safetensors file, in the order of `specs`."""
        with TensorWriter(self._create(path), specs, alignment=ALIGNMENT) as writer:
            yield writer
        self._files[path] = FileInfo(size=writer.size, sha256=writer.sha256)

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest, completed with the files and its own digest."""
        files = dict(sorted(self._files.items()))
        complete = sign(manifest.model_copy(update={"files": files, "digest": ""}))
        self.write_bytes(MANIFEST_NAME, canonical_json(complete))
        for directory in {self._root, *(path for path in self._root.rglob("*") if path.is_dir())}:
            sync_directory(directory)

    def _create(self, path: str) -> Path:
        target = self._root / checked_relative(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        return target


def sign(manifest: Manifest) -> Manifest:
    """The manifest with the SHA-256 of all its other fields."""
    blank = manifest.model_copy(update={"digest": ""})
    digest = hashlib.sha256(canonical_json(blank)).hexdigest()
    return manifest.model_copy(update={"digest": digest})


def check_output(directory: Path, room: int = 0) -> None:
    """Raise ArtifactError unless an artifact can be written there: checked before the work.

    `room` bytes have to be free there. What a killed writer left next to it is removed.
    """
    directory = _absolute(directory)
    require_replaceable(directory)
    try:
        if directory.is_dir() and not os.access(directory, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        made = _make_parents(directory)
        try:
            with staged_directory(directory):
                free = shutil.disk_usage(directory.parent).free
        finally:
            for parent in reversed(made):
                parent.rmdir()
    except OSError as error:
        raise _unwritable(directory, error) from error
    if free < room:
        raise ArtifactError(
            f"the artifact takes {format_bytes(room)}, and {format_bytes(free)} are free",
            where=shown(directory),
            expected=f"{room} bytes of free space, besides an earlier artifact",
            fix="free space or choose another output path",
        )


def write_artifact(directory: Path, fill: Callable[[ArtifactWriter], Manifest]) -> None:
    """Make `directory` hold exactly what `fill` writes, or leave everything as it was.

    `fill` returns the manifest without `files` and `digest`. The files are made in a temporary
    directory next to the target, made durable, and exchanged with the earlier artifact. If
    anything fails, the temporary directory is removed and the earlier artifact stays; the next
    writer removes that of a killed one.
    Raises ArtifactError if the target is something else than an artifact or cannot be written.
    """
    directory = _absolute(directory)
    require_replaceable(directory)
    with ExitStack() as stack:
        try:
            _make_parents(directory)
            temporary = stack.enter_context(staged_directory(directory))
        except OSError as error:
            raise _unwritable(directory, error) from error
        try:
            staged = temporary / "new"
            staged.mkdir()
            writer = ArtifactWriter(staged)
            writer.finish(fill(writer))
            require_replaceable(directory)  # again: `fill` may have taken hours
            put(staged, directory)
        except OSError as error:
            if error.filename is not None and not _inside(temporary, directory, error.filename):
                raise
            raise _unwritable(directory, error) from error


def _absolute(directory: Path) -> Path:
    if "\0" in str(directory):
        raise _unwritable(directory, OSError(errno.EINVAL, "a name has no NUL byte"))
    return Path(os.path.abspath(directory))


def _make_parents(directory: Path) -> list[Path]:
    """Make the directories above that are not there; those that were made, outermost first."""
    missing: list[Path] = []
    parent = directory.parent
    while not parent.exists():
        missing.insert(0, parent)
        parent = parent.parent
    for each in missing:
        each.mkdir(exist_ok=True)
    return missing


def _inside(temporary: Path, directory: Path, filename: object) -> bool:
    name = os.path.abspath(os.fsdecode(filename)) if isinstance(filename, (str, bytes)) else ""
    return name.startswith((str(temporary), str(directory))) or name == str(directory.parent)


def _unwritable(directory: Path, error: OSError) -> ArtifactError:
    if isinstance(error, NotDurableError):
        return ArtifactError(
            f"the new artifact is there, but its directory cannot be synced: {error.strerror}",
            where=shown(directory),
            fix="it may be lost if the machine fails now: check the disk, then compile again",
        )
    return ArtifactError(
        f"the artifact cannot be written: {error.strerror or error}",
        where=shown(directory),
        expected="a writable directory with enough free space",
        fix="free space or choose another output path; an earlier artifact is left as it was",
    )
