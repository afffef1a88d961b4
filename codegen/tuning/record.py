"""The tuning file of a search and its library: checked before the work, written whole."""

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.codegen.write.cpu_library import compile_library
from sala_compile.runtime.artifact import canonical_json
from sala_compile.runtime.artifact.contract import Contract
from sala_compile.runtime.artifact.manifest import FileInfo
from sala_compile.runtime.artifact.outputs import OutputRule
from sala_compile.runtime.artifact.tuning import LIBRARY_SUFFIX, Tuning, library_beside, read_tuning
from sala_compile.runtime.common.files import FileRule, shown
from sala_compile.runtime.errors import ArtifactError, RequestError, SalaError

_FIX = "name a file in a directory that can be written, with -o"
_RECORD = OutputRule(what="the tuning file", error=ArtifactError, fix=_FIX)
_LIBRARY = OutputRule(what="the library of the tuning", error=ArtifactError, fix=_FIX)
_OLD_LIBRARY = FileRule(what="the library next to the tuning file", limit=1 << 30)
_SAME = ("artifact", "target", "processor", "threads", "length", "versions")


class TuningFile:
    """A tuning file at `path` for kernels with the names `symbols`."""

    def __init__(self, path: Path, symbols: Collection[str], *, again: bool) -> None:
        """Check that both files can be written and replace nothing but their own kind.

        With `again` an earlier tuning is forgotten, which stays until there is a first result.
        Raises ArtifactError or RequestError.
        """
        if path.suffix == LIBRARY_SUFFIX:
            raise RequestError(
                f"the tuning file would have the name of its library, {path.name}",
                where=shown(path),
                fix="name it otherwise, such as NAME.tuning.json",
            )
        self.path, self.library = path, library_beside(path)
        self._symbols, self._again = symbols, again
        self._record_place = _RECORD.check(path)
        self._library_place = _LIBRARY.check(self.library)
        if self._library_place.exists():
            self._check_library()

    def begun(self, fresh: Tuning) -> Tuning:
        """The tuning at `path`, if there is one of the same work; else `fresh`."""
        if not self._record_place.exists():
            return fresh
        found = read_tuning(self.path)
        if self._again:
            return fresh
        for name in _SAME:
            if getattr(found, name) != getattr(fresh, name):
                raise RequestError(
                    f"the earlier tuning has another {name}: {getattr(found, name)}",
                    where=shown(self.path),
                    expected=str(getattr(fresh, name)),
                    fix="name another file with -o, or add --again to replace it",
                )
        return found

    def write(self, tuning: Tuning) -> None:
        """Replace the tuning file as a whole."""
        _RECORD.write(self.path, canonical_json(tuning))

    def write_library(
        self, functions: Mapping[str, Any], target: CpuTarget, contract: Contract
    ) -> FileInfo:
        """Compile the kernels into the library; its size and hash."""
        try:
            data = compile_library(functions, target, self._library_place, contract)
        except OSError as error:
            raise _LIBRARY.failed(self.library, error) from None
        return FileInfo(size=len(data), sha256=hashlib.sha256(data).hexdigest())

    def _check_library(self) -> None:
        """Refuse to replace a library without these kernels, which is of no earlier tuning."""
        try:
            data = _OLD_LIBRARY.read(self._library_place)
        except SalaError:
            data = b""
        if not all(symbol.encode() in data for symbol in self._symbols):
            raise RequestError(
                "next to the tuning file is another file with the name of its library",
                where=shown(self.library),
                expected="no file, or the library of an earlier tuning of the same kernels",
                fix="move it, or name another tuning file with -o",
            )
