"""What was measured so far, in one file that is rewritten with every row.

`results.json` has a document for each part: facts, `rows` that each have a `name`, and whether the
part is `complete`. Whoever is stopped loses the row that he was at, and goes on behind the last.
"""

import json
import os
from pathlib import Path
from typing import Any

FILE = "results.json"


def read_results(folder: Path) -> dict[str, Any]:
    """The documents of all parts; none where nothing was measured."""
    path = folder / FILE
    return json.loads(path.read_text()) if path.exists() else {}


class Document:
    """The document of one part; every change is in the file at once, whole or not at all."""

    def __init__(self, folder: Path, part: str) -> None:
        """Go on with what an earlier run measured."""
        self._folder = folder
        self._part = part
        found = read_results(folder).get(part, {})
        self._facts: dict[str, Any] = {"complete": False, **found}
        self.rows: list[dict[str, Any]] = self._facts.pop("rows", [])

    def __contains__(self, name: str) -> bool:
        """Whether there is a row of this name."""
        return any(row["name"] == name for row in self.rows)

    @property
    def passed(self) -> bool:
        """Whether no row says that it did not hold, and no error ended the part."""
        return "error" not in self._facts and all(row.get("passed", True) for row in self.rows)

    def add(self, name: str, **row: Any) -> None:
        """Write a row."""
        self.rows.append({"name": name, **row})
        self._write()

    def note(self, **facts: Any) -> None:
        """Write facts beside the rows."""
        self._facts |= facts
        self._write()

    def finish(self) -> None:
        """Nothing is left to measure."""
        self._facts.pop("error", None)
        self.note(complete=True)

    def _write(self) -> None:
        everything = read_results(self._folder)
        everything[self._part] = {**self._facts, "rows": self.rows}
        beside = self._folder / f".{FILE}"
        with beside.open("w") as file:
            json.dump(everything, file, indent=1, default=str)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._folder / FILE)
