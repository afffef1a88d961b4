"""Calls into the library tokenizers: with any exception, a panic of its native code too."""

from collections.abc import Iterator
from contextlib import contextmanager

from sala_compile.runtime.common.json_text import QUOTED
from sala_compile.runtime.errors import SalaError

_PANIC = "PanicException"
"""pyo3's class for a panic: no subclass of Exception, and no module has it to import."""


@contextmanager
def library_errors(
    error: type[SalaError],
    found: str,
    *,
    where: str | None = None,
    expected: str | None = None,
    fix: str | None = None,
) -> Iterator[None]:
    """Turn what the library raises inside into one `error`: `found`, and what the library says.

    Ctrl-C and the like pass, and so does a `SalaError`.
    """
    try:
        yield
    except SalaError:
        raise
    except BaseException as problem:
        if not isinstance(problem, Exception) and type(problem).__name__ != _PANIC:
            raise
        said = " ".join(str(problem).split())
        said = said if len(said) <= 2 * QUOTED else f"{said[: 2 * QUOTED]} ..."
        raise error(f"{found}: {said}", where, expected, fix) from None
