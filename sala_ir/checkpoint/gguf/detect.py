"""What tells a GGUF file from other checkpoints, without the package that reads one."""

from pathlib import Path

from sala_compile.runtime.common.files import FileRule
from sala_compile.runtime.errors import CheckpointError

MAGIC = b"GGUF"
FILE = FileRule(what="the GGUF file", error=CheckpointError, fix="download or write the file again")
"""How GGUF files are opened."""


def is_gguf(path: Path) -> bool:
    """Whether a path names a GGUF file: by its suffix, or by its first bytes."""
    if path.is_dir():
        return False
    if path.suffix == ".gguf":
        return True
    if not path.is_file():
        return False
    with FILE.open(path) as file:
        return file.read(len(MAGIC)) == MAGIC
