"""The rows that a benchmark has measured so far, in a file, so that a run can be continued."""

import json
from pathlib import Path
from typing import Any

from sala_compile.runtime.artifact.replace import write_whole


class RowRecord:
    """Rows by group and name, of one request; a file of another request is begun anew."""

    def __init__(self, path: Path, asked: dict[str, Any]) -> None:
        """Read what the file has."""
        self._path, self._asked = path, asked
        path.parent.mkdir(parents=True, exist_ok=True)
        found = json.loads(path.read_text()) if path.exists() else {}
        self._rows: dict[str, dict[str, Any]] = {}
        if found.get("asked") == asked:
            self._rows = found["rows"]

    def has(self, group: str, name: str) -> bool:
        """Whether the row was measured."""
        return name in self._rows.get(group, {})

    def add(self, group: str, name: str, row: dict[str, Any]) -> None:
        """Keep a row, on disk too."""
        self._rows.setdefault(group, {})[name] = row
        write_whole(self._path, json.dumps(self.document, indent=1).encode())

    def row(self, group: str, name: str) -> dict[str, Any]:
        """A row that was measured."""
        return self._rows[group][name]

    @property
    def document(self) -> dict[str, Any]:
        """What was requested, and all rows."""
        return {"asked": self._asked, "rows": self._rows}
