"""Git LFS pointers: short texts in place of files that a clone without LFS left out."""

from sala_compile.runtime.errors import SalaError

PREFIX = b"version https://git-lfs.github.com/spec/"
"""The beginning of every pointer."""


def refuse_pointer(beginning: bytes, where: str, error: type[SalaError]) -> None:
    """Raise `error` if a file begins as a pointer does; `beginning` is its first bytes."""
    if beginning.startswith(PREFIX):
        raise error(
            "the file is a Git LFS pointer: its content was not downloaded",
            where=where,
            expected="the file itself",
            fix="run `git lfs pull` in the checkpoint, or download the file again",
        )
