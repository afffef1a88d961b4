"""A checkpoint directory in Hugging Face layout, read tensor by tensor.

Data is read by position, a range of rows at a time and into memory of just that size: a
checkpoint is never mapped or loaded whole, and a file that shrinks while it is read is an error,
not a crash.
"""

import hashlib
import json
import math
import os
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np

from sala_compile.runtime.common.files import FileRule, shown, stands
from sala_compile.runtime.common.git_lfs import PREFIX, refuse_pointer
from sala_compile.runtime.common.json_text import LIMITS, is_object, parse_object
from sala_compile.runtime.errors import CheckpointError
from sala_compile.sala_ir.checkpoint.safetensors_file import (
    PIECE_BYTES,
    WEIGHT_ELEMENTS,
    WEIGHTS,
    CheckpointTensor,
    read_header,
)
from sala_compile.sala_ir.frontends import read_config

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

ROTARY_BUFFERS = ("inv_freq", "cos_cached", "sin_cached")
"""Last names of tensors that the configuration implies: never read, with any name before them."""

_INDEX = FileRule(what="the index", limit=LIMITS.size, error=CheckpointError)
_COPIED = FileRule(what="the file", error=CheckpointError)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The configuration and the tensors of a checkpoint; files stay open until `close`.

    `directory` holds the files to be copied; `source` is what the user named where that is another
    place. `notes` are sentences that the user should read.
    """

    directory: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, CheckpointTensor]
    source: Path | None = None
    notes: tuple[str, ...] = ()
    _files: dict[Path, BinaryIO] = field(default_factory=dict[Path, BinaryIO], repr=False)

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

    def renamed(self, names: Mapping[str, str]) -> "Checkpoint":
        """The checkpoint by other names, {found: wanted}, where the wanted one is not there."""
        wanted = {found: name for found, name in names.items() if name not in self.tensors}
        tensors = {wanted.get(name, name): tensor for name, tensor in self.tensors.items()}
        return replace(self, tensors=tensors)

    def check(
        self, expected: Mapping[str, tuple[int, ...]], also: Container[str] = frozenset()
    ) -> None:
        """Refuse missing and extra tensors, other shapes, and elements that no weight has.

        Tensors of `also` and rotary buffers may be there, of any kind.
        """
        missing = [name for name in expected if name not in self.tensors]
        extra = [
            name
            for name in self.tensors
            if name not in expected and name not in also and not _is_rotary(name)
        ]
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
            if not tensor.holds_values:
                raise tensor.error(
                    f"the tensor has elements {tensor.element}",
                    expected=", ".join(WEIGHT_ELEMENTS),
                )

    def read(self, name: str, rows: slice | None = None) -> np.ndarray:
        """Return a tensor, or the rows of a slice, in its own element type (bfloat16: ml_dtypes).

        The array is the caller's own memory, of exactly the requested size.
        """
        tensor = self.tensors.get(name)
        if tensor is None:
            raise self._error("the tensor is missing", [name], "a tensor of the checkpoint")
        count = tensor.shape[0] if tensor.shape else 1
        start, stop, step = (rows or slice(None)).indices(count)
        assert step == 1, "rows are read as one range"
        return tensor.read(self.descriptor(tensor.path), start, max(start, stop))

    def rows(self, name: str, start: int, stop: int) -> np.ndarray:
        """Return rows [start, stop) of a tensor as float32 or bfloat16; float16 becomes float32."""
        found = self.read(name, slice(start, stop))
        return found.astype(np.float32) if found.dtype == np.float16 else found

    def copied_files(self) -> list[Path]:
        """Tokenizer, template and generation files that exist here, to be copied as they are."""
        paths = (self.directory / name for name in COPIED_FILES)
        templates = sorted((self.directory / TEMPLATE_FOLDER).glob("*.jinja"))
        return [path for path in (*paths, *templates) if stands(path)]

    def check_copied(self) -> None:
        """Refuse a file to be copied that is none, or a Git LFS pointer in its place."""
        for path in self.copied_files():
            with _COPIED.open(path) as file:
                refuse_pointer(file.read(len(PREFIX)), shown(path), CheckpointError)

    def check_equal(self, name: str, other: str) -> None:
        """Refuse two tensors that should be one and have other values; a few rows at a time."""
        tensor, model = self.tensors[name], self.tensors[other]
        if tensor.shape != model.shape:
            raise self._differs(name, other, f"shape {list(tensor.shape)}")
        step = max(1, PIECE_BYTES // max(1, tensor.row_bytes, model.row_bytes))
        for start in range(0, tensor.shape[0], step):
            rows = slice(start, start + step)
            ours, theirs = (self.read(each, rows).astype(np.float32) for each in (name, other))
            if not np.array_equal(ours, theirs, equal_nan=True):
                raise self._differs(name, other, "other values")

    def check_numbers(self, name: str, wanted: Sequence[int]) -> None:
        """Refuse a tensor, if it is there, of other numbers than the configuration implies."""
        tensor = self.tensors.get(name)
        if tensor is None:
            return
        is_like = tensor.shape == (len(wanted),) and tensor.dtype.kind in "iu"
        if not is_like or self.read(name).tolist() != list(wanted):
            raise tensor.error(
                "the tensor has other numbers than the configuration implies",
                expected=f"{list(wanted[:3])}{' and so on' * (len(wanted) > 3)}, whole numbers",
            )

    @property
    def parameters(self) -> int:
        """Number of values in all tensors."""
        return sum(math.prod(tensor.shape) for tensor in self.tensors.values())

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.size for tensor in self.tensors.values())

    def digest(self, progress: Callable[[int], None] | None = None) -> str:
        """SHA-256 of the configuration and of every tensor: name, type, shape, data.

        It does not depend on how tensors are split into files. `progress` receives the bytes read.
        """
        total = hashlib.sha256(json.dumps(self.config, sort_keys=True).encode())
        for name, tensor in sorted(self.tensors.items()):
            total.update(json.dumps([name, tensor.element, tensor.shape]).encode())
            for piece in tensor.pieces(self.descriptor):
                total.update(piece)
                if progress is not None:
                    progress(len(piece))
        return total.hexdigest()

    def close(self) -> None:
        """Close the files that were read."""
        while self._files:
            self._files.popitem()[1].close()

    def __enter__(self) -> "Checkpoint":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def descriptor(self, path: Path) -> int:
        """The descriptor of a file with tensors, opened at first use."""
        if path not in self._files:
            self._files[path] = WEIGHTS.open(path)
        return self._files[path].fileno()

    def _differs(self, name: str, other: str, found: str) -> CheckpointError:
        return CheckpointError(
            f"{name} has {found} than {other}"
            if found.startswith("other")
            else f"{name} has {found}, unlike {other}",
            where=f"{shown(self.source or self.directory)}: {name}",
            expected="the same values: the configuration ties the two (tie_word_embeddings)",
            fix="set tie_word_embeddings to false if the model has a head of its own",
        )

    def _error(self, found: str, names: list[str], expected: str) -> CheckpointError:
        listed = ", ".join(map(shown, names[:3])) + (", ..." if len(names) > 3 else "")
        return CheckpointError(
            found, where=f"{shown(self.source or self.directory)}: {listed}", expected=expected
        )


def _read_headers(directory: Path) -> dict[str, CheckpointTensor]:
    single, index = directory / WEIGHTS_FILE, directory / INDEX_FILE
    if stands(single):
        return read_header(single)
    if stands(index):
        return _read_shards(directory, index)
    raise CheckpointError(
        "the directory has no weights",
        where=str(directory),
        expected=f"{WEIGHTS_FILE}, or {INDEX_FILE}",
    )


def _is_rotary(name: str) -> bool:
    return name.rpartition(".")[2] in ROTARY_BUFFERS


def _read_shards(directory: Path, index: Path) -> dict[str, CheckpointTensor]:
    names = parse_object(_INDEX.read(index), shown(index), CheckpointError).get("weight_map")
    if not is_object(names) or not all(isinstance(file, str) for file in names.values()):
        raise CheckpointError(
            "the index is malformed", where=f"{index}: weight_map", expected="tensor name -> file"
        )
    tensors: dict[str, CheckpointTensor] = {}
    homes: dict[str, set[str]] = {}
    for name, file in names.items():
        homes.setdefault(file, set()).add(name)
    for file, declared in sorted(homes.items()):
        shard = read_header(_shard_path(directory, index, file))
        _check_shard(directory / file, set(shard), declared)
        tensors.update(shard)
    return tensors


def _check_shard(path: Path, stored: set[str], declared: set[str]) -> None:
    for name in sorted(declared - stored):
        raise CheckpointError(
            "the shard lacks a tensor of the index", where=f"{shown(path)}: {shown(name)}"
        )
    for name in sorted(stored - declared):
        raise CheckpointError(
            "the shard has a tensor that the index does not name there",
            where=f"{shown(path)}: {shown(name)}",
        )


def _shard_path(directory: Path, index: Path, file: str) -> Path:
    """Return the path of a shard, which must lie in the directory under its plain name."""
    if not file or PurePosixPath(file).name != file or file == ".." or "\0" in file:
        raise CheckpointError(
            "the index names a file outside the directory",
            where=f"{shown(index)}: {shown(file)}",
            expected="a file name without folders",
        )
    path = directory / file
    if not stands(path):
        raise CheckpointError(
            "a shard is missing", where=shown(path), expected=f"every file that {index.name} names"
        )
    return path


def _counted(names: list[str]) -> str:
    return "1 tensor is" if len(names) == 1 else f"{len(names)} tensors are"
