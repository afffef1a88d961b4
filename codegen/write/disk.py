"""Files that cannot be read or written, reported as errors that a user can mend."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from sala_compile.runtime.errors import CompileError

OBJECT_BYTES = 16 << 20
"""More than the object and the library of any model take in the temporary directory."""


@contextmanager
def file_errors() -> Iterator[None]:
    """Turn every `OSError` made inside into a `CompileError` that names the file."""
    try:
        yield
    except OSError as error:
        raise CompileError(
            f"a file cannot be read or written: {error.strerror or error}",
            where=None if error.filename is None else os.fsdecode(error.filename),
            fix="check the path, its permissions and the free space",
        ) from error


def require_temporary_room(size: int = OBJECT_BYTES) -> None:
    """Raise CompileError unless the temporary directory takes `size` bytes.

    LLVM ends the process where it cannot write an object, so this is found out before.
    """
    try:
        with tempfile.TemporaryFile() as file:
            os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        raise CompileError(
            f"there is no room for compiled kernels: {error.strerror or error}",
            where=tempfile.gettempdir(),
            expected=f"{size >> 20} MiB for temporary files",
            fix="free space there, or name another directory in the variable TMPDIR",
        ) from error
