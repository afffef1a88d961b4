"""What was executed, kept by file of tests and architecture, so that a table can go on.

A row is current while the files that decided it are what they were, and Triton too.
"""

import hashlib
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "build" / "ptx"
"""Where rows are kept unless another folder is named."""
DECIDE = ("codegen/gpu_code", "codegen/kernels", "codegen/layouts", "codegen/targets", "tests")
"""Folders of what a row depends on: kernels, their compiler, tests and emulator; and REFERENCE."""
REFERENCE = "sala_ir/reference"


@dataclass(frozen=True, slots=True)
class Executed:
    """A file of tests on the code for an architecture.

    `programs` is the digest of all texts that ran; `files` are the digests of what the process had
    loaded of the project, by paths.
    """

    tests: str
    processor: str
    passed: int
    skipped: int
    count: int
    launches: int
    instructions: int
    seconds: int
    programs: str
    triton: str
    files: dict[str, str]

    def row(self) -> str:
        """A row of the table."""
        cells = (self.tests, self.processor, self.passed, self.skipped, self.count, self.launches)
        more = (self.instructions, self.seconds, self.programs[:12])
        return "| " + " | ".join(map(str, cells + more)) + " |"

    def is_current(self) -> bool:
        """Whether Triton and every file are as they were."""
        return self.triton == version("triton") and all(
            digest == _digest(ROOT / name) for name, digest in self.files.items()
        )


HEADER = (
    "| tests | code | passed | skipped | programs | launches | instructions | seconds | digest |",
    "|---|---|---|---|---|---|---|---|---|",
)
"""Of a table of rows."""


def read(folder: Path, tests: str, processor: str) -> Executed | None:
    """The current row of a file of tests, None where there is none."""
    path = _path(folder, tests, processor)
    if not path.exists():
        return None
    found = Executed(**json.loads(path.read_text()))
    return found if found.is_current() else None


def write(folder: Path, row: Executed) -> None:
    """Keep a row; a process that is cut off leaves the one before."""
    path = _path(folder, row.tests, row.processor)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(asdict(row), indent=1) + "\n")
    part.replace(path)


def _path(folder: Path, tests: str, processor: str) -> Path:
    return folder / processor / (tests.replace("/", "-") + ".json")


def loaded_files() -> dict[str, str]:
    """The files of this process's modules that decide what a row says, with their digests."""
    found: dict[str, str] = {}
    for module in list(sys.modules.values()):
        path = Path(getattr(module, "__file__", None) or "").resolve()
        name = str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else ""
        if name.startswith((*DECIDE, REFERENCE)) and "cpu" not in path.parts:
            found[name] = _digest(path)
    return dict(sorted(found.items()))


def digest_of_texts(texts: Iterable[str]) -> str:
    """One digest of some texts in any order."""
    each = sorted(hashlib.sha256(text.encode()).hexdigest() for text in texts)
    return hashlib.sha256("".join(each).encode()).hexdigest()


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""
