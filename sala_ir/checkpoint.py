"""A checkpoint directory in Hugging Face layout, read tensor by tensor.

Data is read by position, a range of rows at a time and into memory of just that size: a
checkpoint is never mapped or loaded whole, and a file that shrinks while it is read is an error,
not a crash.
"""

import hashlib
import json
import os
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from runtime.errors import CheckpointError
from sala_ir.frontends import read_config
from sala_ir.safetensors_file import StoredTensor, read_header, read_into

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"

COPIED_FILES = (
    "added_tokens.json",
    "chat_template.jinja",
    "generation_config.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
)
"""Files of a checkpoint that an artifact keeps byte for byte, where they exist."""
TEMPLATE_FOLDER = "additional_chat_templates"
"""The folder of named chat templates, which are kept likewise."""

WEIGHT_ELEMENTS = ("BF16", "F16", "F32")
"""Element types that weights may have."""

_DIGEST_BYTES = 1 << 24


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The configuration and the tensors of a checkpoint; files stay open until `close`."""

    directory: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, StoredTensor]
    _files: dict[Path, int] = field(default_factory=dict, repr=False)

    @staticmethod
    def open(directory: str | os.PathLike[str]) -> "Checkpoint":
        """Read configuration and headers, no data.

        Raises `CheckpointError` naming the file at fault, `ConfigError` for config.json.
        """
        path = Path(directory)
        if not path.is_dir():
            raise CheckpointError(
                "there is no such directory", where=str(path), expected="a checkpoint directory"
            )
        return Checkpoint(path, read_config(path), _read_headers(path))

    def check(
        self, expected: Mapping[str, tuple[int, ...]], also: Container[str] = frozenset()
    ) -> None:
        """Refuse missing and extra tensors, other shapes, and elements that no weight has.

        Tensors of `also` may be there, whatever they are.
        """
        missing = [name for name in expected if name not in self.tensors]
        extra = [name for name in self.tensors if name not in expected and name not in also]
        if missing:
            raise self._error(f"{_counted(missing)} missing", missing, "every tensor of the model")
        if extra:
            raise self._error(f"{_counted(extra)} unexpected", extra, "only tensors of the model")
        for name, shape in expected.items():
            tensor = self.tensors[name]
            if tensor.shape != tuple(shape):
                raise tensor.error(
                    f"the tensor has shape {list(tensor.shape)}", expected=f"{list(shape)}"
                )
            if tensor.element not in WEIGHT_ELEMENTS:
                raise tensor.error(
                    f"the tensor has elements {tensor.element}",
                    expected=", ".join(WEIGHT_ELEMENTS),
                )

    def read(self, name: str, rows: slice | None = None) -> np.ndarray:
        """Return a tensor, or the rows of a slice, in its own element type (bfloat16: ml_dtypes).

        The array is the caller's own memory, of just the size asked for.
        """
        tensor = self.tensors.get(name)
        if tensor is None:
            raise self._error("the tensor is missing", [name], "a tensor of the checkpoint")
        count = tensor.shape[0] if tensor.shape else 1
        start, stop, step = (rows or slice(None)).indices(count)
        assert step == 1, "rows are read as one range"
        return read_into(tensor, self._descriptor(tensor.path), start, max(start, stop))

    def rows(self, name: str, start: int, stop: int) -> np.ndarray:
        """Return rows [start, stop) of a tensor as float32 or bfloat16; float16 becomes float32."""
        found = self.read(name, slice(start, stop))
        return found.astype(np.float32) if found.dtype == np.float16 else found

    def copied_files(self) -> list[Path]:
        """Tokenizer, template and generation files that exist here, to be copied as they are."""
        paths = (self.directory / name for name in COPIED_FILES)
        templates = sorted((self.directory / TEMPLATE_FOLDER).glob("*.jinja"))
        return [path for path in (*paths, *templates) if path.is_file()]

    @property
    def parameters(self) -> int:
        """Number of values in all tensors."""
        return sum(tensor.size // tensor.dtype.itemsize for tensor in self.tensors.values())

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.size for tensor in self.tensors.values())

    def digest(self, progress: Callable[[int], None] | None = None) -> str:
        """SHA-256 of the configuration and of every tensor: name, type, shape, data.

        It does not depend on how tensors are split into files. `progress` is told the bytes read.
        """
        total = hashlib.sha256(json.dumps(self.config, sort_keys=True).encode())
        for name, tensor in sorted(self.tensors.items()):
            total.update(json.dumps([name, tensor.element, tensor.shape]).encode())
            for piece in self._pieces(tensor):
                total.update(piece)
                if progress is not None:
                    progress(len(piece))
        return total.hexdigest()

    def close(self) -> None:
        """Close the files that were read."""
        while self._files:
            os.close(self._files.popitem()[1])

    def __enter__(self) -> "Checkpoint":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _pieces(self, tensor: StoredTensor) -> Iterator[bytes]:
        file, position = self._descriptor(tensor.path), tensor.begin
        end = tensor.begin + tensor.size
        while position < end:
            piece = os.pread(file, min(_DIGEST_BYTES, end - position), position)
            if not piece:
                raise tensor.error("the file ends within the tensor")
            yield piece
            position += len(piece)

    def _descriptor(self, path: Path) -> int:
        if path not in self._files:
            with _reading(path):
                self._files[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return self._files[path]

    def _error(self, found: str, names: list[str], expected: str) -> CheckpointError:
        listed = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        return CheckpointError(found, where=f"{self.directory}: {listed}", expected=expected)


def _read_headers(directory: Path) -> dict[str, StoredTensor]:
    single, index = directory / WEIGHTS_FILE, directory / INDEX_FILE
    if single.is_file():
        return read_header(single)
    if index.is_file():
        return _read_shards(directory, index)
    raise CheckpointError(
        "the directory has no weights",
        where=str(directory),
        expected=f"{WEIGHTS_FILE}, or {INDEX_FILE}",
    )


def _read_shards(directory: Path, index: Path) -> dict[str, StoredTensor]:
    names = _read_object(index).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(file, str) for file in names.values()):
        raise CheckpointError(
            "the index is malformed", where=f"{index}: weight_map", expected="tensor name -> file"
        )
    tensors: dict[str, StoredTensor] = {}
    for file in sorted(set(names.values())):
        shard = read_header(_shard_path(directory, index, file))
        declared = {name for name, home in names.items() if home == file}
        _check_shard(directory / file, set(shard), declared)
        tensors.update(shard)
    return tensors


def _check_shard(path: Path, stored: set[str], declared: set[str]) -> None:
    for name in sorted(declared - stored):
        raise CheckpointError("the shard lacks a tensor of the index", where=f"{path}: {name}")
    for name in sorted(stored - declared):
        raise CheckpointError(
            "the shard has a tensor that the index does not name there", where=f"{path}: {name}"
        )


def _shard_path(directory: Path, index: Path, file: str) -> Path:
    """Return the path of a shard, which must lie in the directory under its plain name."""
    if not file or PurePosixPath(file).name != file or file == ".." or "\0" in file:
        raise CheckpointError(
            "the index names a file outside the directory",
            where=f"{index}: {file}",
            expected="a file name without folders",
        )
    path = directory / file
    if not path.is_file():
        raise CheckpointError(
            "a shard is missing", where=str(path), expected=f"every file that {index.name} names"
        )
    return path


def _read_object(path: Path) -> dict[str, Any]:
    with _reading(path):
        raw = path.read_bytes()
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        raise CheckpointError("the file is not JSON", where=str(path)) from None
    if not isinstance(found, dict):
        raise CheckpointError("the file is not a JSON object", where=str(path))
    return found


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise CheckpointError("the file is missing", where=str(path)) from None
    except OSError as error:
        raise CheckpointError(
            f"the file cannot be read: {error.strerror}", where=str(path)
        ) from None


def _counted(names: list[str]) -> str:
    return "1 tensor is" if len(names) == 1 else f"{len(names)} tensors are"
