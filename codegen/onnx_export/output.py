"""Writing the directory of an export: the old one or the new one is there, whole."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import onnx

from sala_compile.codegen.onnx_export.assemble_model import PRODUCER
from sala_compile.runtime.artifact.replace import put, sync_directory
from sala_compile.runtime.artifact.staging import staged_directory
from sala_compile.runtime.artifact.writer import ArtifactWriter
from sala_compile.runtime.common.files import shown
from sala_compile.runtime.errors import CompileError
from sala_compile.sala_ir.checkpoint.safetensors_file import read_header


class OutputDirectory:
    """Receives the files of an export."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._files = ArtifactWriter(root)
        self.write = self._files.write_bytes
        self.copy = self._files.copy_file
        self.tensors = self._files.tensors

    def places(self, name: str) -> Mapping[str, tuple[int, int]]:
        """Offset and length of each tensor in a written file."""
        header = read_header(self._root / name)
        return {each.name: (each.begin, each.size) for each in header.values()}


@contextmanager
def write_directory(target: Path, model_name: str) -> Iterator[OutputDirectory]:
    """Make `target` hold exactly what is written inside, or leave everything as it was.

    Raises `CompileError` if something else than an earlier export is there.
    """
    target = Path(os.path.abspath(target))
    _require_replaceable(target, model_name)
    target.parent.mkdir(parents=True, exist_ok=True)
    with staged_directory(target) as temporary:
        fresh = temporary / "new"
        fresh.mkdir()
        yield OutputDirectory(fresh)
        sync_directory(fresh)
        _require_replaceable(target, model_name)
        put(fresh, target)


def _require_replaceable(target: Path, model_name: str) -> None:
    if not os.path.lexists(target):
        return
    is_directory = target.is_dir() and not target.is_symlink() and not os.path.ismount(target)
    if is_directory and (not any(target.iterdir()) or _is_export(target / model_name)):
        return
    raise CompileError(
        "the output exists and is no earlier export",
        where=shown(target),
        expected="a new path, an empty directory, or one that --emit onnx wrote",
        fix="choose another output path",
    )


def _is_export(model: Path) -> bool:
    try:
        return onnx.load(model, load_external_data=False).producer_name == PRODUCER
    except Exception:  # whatever a foreign file does to the parser
        return False
