"""Opening an artifact: nothing in it is used before it has been checked."""

import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from sala_compile.runtime.artifact.agreement import disagreement
from sala_compile.runtime.artifact.contract import Contract
from sala_compile.runtime.artifact.format_model import Frozen, align, canonical_document, is_gpu
from sala_compile.runtime.artifact.golden import Golden
from sala_compile.runtime.artifact.gpu import GpuLibrary
from sala_compile.runtime.artifact.manifest import MAJOR, MINOR, FormatVersion, Manifest, TargetInfo
from sala_compile.runtime.artifact.mapped_tensors import read_header
from sala_compile.runtime.artifact.opened import OpenDirectory, OpenFile
from sala_compile.runtime.artifact.processor import (
    architecture,
    missing_instructions,
    processor_flags,
)
from sala_compile.runtime.artifact.program import Program
from sala_compile.runtime.artifact.signature import require_signature
from sala_compile.runtime.artifact.writer import GOLDEN_NAME, MANIFEST_NAME, PROGRAM_NAME
from sala_compile.runtime.common.json_text import LIMITS, parse_object, shortened
from sala_compile.runtime.common.safetensors_format import StoredTensor
from sala_compile.runtime.errors import ArtifactError

Record = TypeVar("Record", bound=Frozen)
HASHED_WEIGHTS = 1 << 30
"""Weights up to this many bytes are hashed whenever an artifact is opened: about a second."""
MANY = 1000
"""Wrong fields of a document that are reported one by one."""
_FIX = "copy the whole artifact again, or compile again"


@dataclass(frozen=True, slots=True)
class Artifact:
    """A checked artifact. `weights` gives the file and place of every weight.

    `files` are all files of the manifest, open since they were checked; `directory` is where they
    were then, for messages. `libraries` replace the libraries of some targets, `workspaces`
    are the digests of those that they were compiled with.
    """

    directory: Path
    manifest: Manifest
    program: Program
    weights: Mapping[str, tuple[str, StoredTensor]]
    files: Mapping[str, OpenFile]
    libraries: Mapping[str, OpenFile] = field(default_factory=dict[str, OpenFile])
    workspaces: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights: of the files, or of what is made from a seed."""
        seeded = self.manifest.seeded
        return self.mapped_bytes if seeded is None else seeded.nbytes

    @property
    def mapped_bytes(self) -> int:
        """Bytes of the weight files."""
        return sum(self.manifest.files[path].size for path in self.manifest.weight_files)

    def weights_of(self, target: str) -> tuple[str, ...]:
        """The weights that the kernels of a target read, in the order of their files."""
        used = self.program.targets[target].mentioned()
        return tuple(name for name in self.weights if name in used)

    def weight_files_of(self, target: str) -> tuple[str, ...]:
        """The weight files that hold some of them."""
        return tuple(dict.fromkeys(self.weights[name][0] for name in self.weights_of(target)))

    def weight_bytes_of(self, target: str) -> int:
        """Bytes of a target's weights in memory: whole files on a CPU, which maps them."""
        if is_gpu(target) or self.manifest.seeded is not None:
            specs = (self.weights[name][1].spec for name in self.weights_of(target))
            return sum(align(spec.nbytes) for spec in specs)
        return sum(self.manifest.files[path].size for path in self.weight_files_of(target))

    @property
    def _newer(self) -> bool:
        """Whether its minor format may have fields that this runtime does not know."""
        return self.manifest.format.minor > MINOR

    def has(self, path: str) -> bool:
        """True if the artifact has this file."""
        return path in self.manifest.files

    def file(self, path: str) -> OpenFile:
        """A file of the artifact, as it was opened; its hash is not checked here."""
        if path not in self.files:
            raise _damaged(self.directory / path, "the file is not listed in manifest.json")
        return self.files[path]

    def library(self, target: str) -> OpenFile:
        """The file with the kernels of a target."""
        if target in self.libraries:
            return self.libraries[target]
        return self.file(self.manifest.targets[target].library)

    def contract(self, target: str) -> Contract:
        """The contract that the library of a target has to have."""
        info = self.manifest.targets[target]
        return Contract(
            program=self.manifest.files[PROGRAM_NAME].sha256,
            vocabulary=self.manifest.model.vocabulary,
            instructions=info.instructions,
            workspaces=self.workspaces.get(target, ""),
        )

    def read_bytes(self, path: str) -> bytes:
        """The bytes of a file, their hash checked."""
        data = self.file(path).read()
        self.check_hash(path, hashlib.sha256(data).hexdigest())
        return data

    def read_text(self, path: str) -> str:
        """The text of a UTF-8 file, its hash checked."""
        try:
            return self.read_bytes(path).decode()
        except UnicodeDecodeError as error:
            where = self.directory / path
            raise _damaged(where, f"the file is not UTF-8 at byte {error.start}") from None

    def golden(self) -> Golden:
        """The golden vectors; none if the artifact has none."""
        if not self.has(GOLDEN_NAME):
            return Golden()
        where = self.directory / GOLDEN_NAME
        _read_limited(self.file(GOLDEN_NAME))
        data = self.read_bytes(GOLDEN_NAME)
        parse_object(data, str(where), ArtifactError, fix=_FIX)
        return _parse(Golden, data, where, lenient=self._newer)

    def check_hashes(self, paths: Iterable[str] | None = None) -> None:
        """Compare the SHA-256 of the files (all by default) with the manifest's."""
        for path in self.manifest.files if paths is None else paths:
            self.check_hash(path, self.file(path).sha256())

    def gpu_library(self, target: str) -> GpuLibrary:
        """The table of a GPU target's kernels, its hash and every place in the cubins checked."""
        path = self.target(target).library
        library = _parse(
            GpuLibrary, self.read_bytes(path), self.directory / path, lenient=self._newer
        )
        size = self.file(library.cubins).size
        for symbol, kernel in library.kernels.items():
            if any(launch.offset + launch.size > size for launch in kernel.launches()):
                raise _damaged(self.directory / path, f"{symbol} lies beyond the end of the cubins")
        return library

    def target(self, name: str) -> TargetInfo:
        """A target of the artifact; one for processors only if this one can execute it."""
        info = self.manifest.targets.get(name)
        if info is None or name not in self.program.targets:
            raise ArtifactError(
                f"the artifact has nothing for the target {name!r}",
                where=str(self.directory),
                expected=f"one of {', '.join(sorted(self.program.targets))}",
                fix=f"compile again with --target {name}",
            )
        if not is_gpu(name):
            self._check_processor(info)
        return info

    def _check_processor(self, info: TargetInfo) -> None:
        where = str(self.directory / info.library)
        if info.architecture != architecture():
            raise ArtifactError(
                f"the library is for {info.architecture} processors, this one is {architecture()}",
                where=where,
                fix="compile for this machine",
            )
        missing = missing_instructions(info.instructions, processor_flags())
        if missing:
            raise ArtifactError(
                f"this processor lacks instructions that the library needs: {', '.join(missing)}",
                where=where,
                expected=f"a processor like {info.mcpu}",
                fix="compile with a --target that this machine can run, such as cpu:x86-64-v3",
            )

    def check_hash(self, path: str, found: str) -> None:
        """Refuse a file whose SHA-256 is not the manifest's."""
        if found != self.manifest.files[path].sha256:
            raise _damaged(
                self.directory / path,
                f"the file is damaged: its SHA-256 is {found[:16]}...",
                f"{self.manifest.files[path].sha256[:16]}...",
            )


def open_artifact(
    path: str | Path, *, hash_weights: bool | None = None, verify_key: str | Path | None = None
) -> Artifact:
    """Read and check the artifact in the directory `path`.

    The checks are the format version, every path, the presence and size of every file, the SHA-256
    of every file (of the weights as `hash_weights` says; by default if they have at most
    `HASHED_WEIGHTS` bytes), the headers of the weight files, and that program, weights and files
    agree. With the public key `verify_key`, also the signature next to the artifact, before
    anything else, and then every hash. Raises ArtifactError, RequestError for what is not a key.
    """
    directory = Path(path)
    root = OpenDirectory(directory)
    data = _read_limited(root.file(MANIFEST_NAME))
    if verify_key is not None:
        require_signature(directory, data, Path(verify_key))
    manifest = _read_manifest(data, directory / MANIFEST_NAME)
    files: dict[str, OpenFile] = {}
    for name, info in manifest.files.items():
        files[name] = root.file(name)
        if files[name].size != info.size:
            found = f"the file has {files[name].size} bytes"
            raise _damaged(directory / name, found, f"{info.size} bytes")
    root.close()
    if verify_key is not None:
        hash_weights = True
    if hash_weights is None:
        stored = (manifest.files[name].size for name in manifest.weight_files if name in files)
        hash_weights = sum(stored) <= HASHED_WEIGHTS
    unhashed = {PROGRAM_NAME, *(() if hash_weights else manifest.weight_files)}
    # Hashes are computed without Python's lock, while the program is read and checked.
    with ThreadPoolExecutor(1) as pool:
        hashes = [
            (name, pool.submit(files[name].sha256)) for name in sorted(files.keys() - unhashed)
        ]
        program = _read_program(directory, manifest, files)
        weights = _read_weights(directory, manifest, files)
        artifact = Artifact(directory, manifest, program, weights, files)
        for name, digest in hashes:
            artifact.check_hash(name, digest.result())
    problem = disagreement(manifest, program, weights)
    if problem is not None:
        raise _damaged(directory / problem.file, problem.found, problem.expected)
    return artifact


def _read_manifest(data: bytes, where: Path) -> Manifest:
    document = parse_object(data, str(where), ArtifactError, fix=_FIX)
    newer = _check_version(where, document)
    manifest = _parse(Manifest, data, where, lenient=newer)
    if _digest(document) != manifest.digest:
        raise _damaged(where, "the manifest is damaged: its digest does not match")
    return manifest


def _digest(document: Mapping[str, Any]) -> str:
    """The digest of a manifest as it is: one of another minor version may have other fields.

    A newer minor version may add fields; none may change how the digest is made.
    """
    return hashlib.sha256(canonical_document({**document, "digest": ""})).hexdigest()


def _check_version(where: Path, document: Mapping[str, Any]) -> bool:
    """Refuse another major version; True if the minor version is newer than this runtime's."""
    try:
        found = FormatVersion.model_validate(document["format"])
    except (ValueError, KeyError) as error:
        raise _damaged(where, "the manifest cannot be read") from error
    if found.major != MAJOR:
        raise ArtifactError(
            f"the artifact has format {found}, this runtime reads format {MAJOR}.{MINOR}",
            where=str(where),
            expected=f"format {MAJOR}.x",
            fix="update the runtime" if found.major > MAJOR else "compile again",
        )
    return found.minor > MINOR


def _read_program(directory: Path, manifest: Manifest, files: Mapping[str, OpenFile]) -> Program:
    where = directory / PROGRAM_NAME
    if PROGRAM_NAME not in files:
        raise _damaged(where, "the file is not listed in manifest.json")
    data = _read_limited(files[PROGRAM_NAME])
    if hashlib.sha256(data).hexdigest() != manifest.files[PROGRAM_NAME].sha256:
        raise _damaged(where, "the file is damaged: its SHA-256 does not match")
    parse_object(data, str(where), ArtifactError, fix=_FIX)  # within limits, no name twice
    return _parse(Program, data, where, lenient=manifest.format.minor > MINOR)


def _read_weights(
    directory: Path, manifest: Manifest, files: Mapping[str, OpenFile]
) -> dict[str, tuple[str, StoredTensor]]:
    weights = {} if manifest.seeded is None else manifest.seeded.places()
    for name in manifest.weight_files:
        if name not in files:
            raise _damaged(directory / name, "the file is not listed among the files")
        for tensor, stored in read_header(files[name]).items():
            if tensor in weights:
                raise _damaged(directory / name, f"{tensor} is in two weight files")
            weights[tensor] = (name, stored)
    return weights


def _read_limited(file: OpenFile) -> bytes:
    if file.size > LIMITS.size:
        raise _damaged(file.path, f"the file has {file.size} bytes", f"at most {LIMITS.size}")
    return file.read()


def _parse(model: type[Record], data: bytes, where: Path, *, lenient: bool = False) -> Record:
    try:
        return model.model_validate_json(data, extra="ignore" if lenient else None)
    except ValidationError as error:
        if error.error_count() > MANY:  # to list them all would take more memory than the file
            raise _damaged(where, f"{error.error_count()} fields are wrong") from None
        first: Any = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise _damaged(where, f"{place or 'the document'}: {first['msg']}") from None


def _damaged(where: Path, found: str, expected: str | None = None) -> ArtifactError:
    return ArtifactError(shortened(found), where=str(where), expected=expected, fix=_FIX)
