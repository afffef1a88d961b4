"""What the files of the four packages import, as a graph of files and of folders."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = "sala_compile"
PACKAGES = ("sala_ir", "passes", "codegen", "runtime")
BUILD_INPUTS = (NAMESPACE, *PACKAGES, "pyproject.toml", "README.md", "LICENSE")
"""What the wheel is built of."""


@dataclass(frozen=True, slots=True)
class Import:
    """`file` (relative to the root) imports the module `name` on `line`."""

    file: Path
    line: int
    name: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.name}"


def files(package: str) -> list[Path]:
    """All files of a package, relative to the root."""
    return sorted(path.relative_to(ROOT) for path in (ROOT / package).rglob("*.py"))


@cache
def imports(file: Path) -> tuple[Import, ...]:
    """All that a file imports: in functions and under TYPE_CHECKING too, and by name in a string.

    `from a import b` gives `a.b` where that is a module of this repository, else `a`.
    """
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return tuple(
        Import(file, line, name) for node in ast.walk(tree) for line, name in _names(file, node)
    )


def _names(file: Path, node: ast.AST) -> Iterator[tuple[int, str]]:
    match node:
        case ast.Import(names=names):
            yield from ((node.lineno, alias.name) for alias in names)
        case ast.ImportFrom(names=names):
            base = _base(file, node)
            yield from ((node.lineno, _deepest(base, alias.name)) for alias in names)
        case ast.Constant(value=str(text)) if text.startswith(f"{NAMESPACE}."):
            if file_of(text) is not None:
                yield node.lineno, text
        case _:
            pass


def _base(file: Path, node: ast.ImportFrom) -> str:
    if node.level == 0:
        return node.module or ""
    parts = module_name(file).split(".")
    parts = parts if file.name == "__init__.py" else parts[:-1]
    parts = parts[: len(parts) - node.level + 1]
    return ".".join([*parts, *([node.module] if node.module else [])])


def _deepest(base: str, name: str) -> str:
    return base if file_of(f"{base}.{name}") is None else f"{base}.{name}"


def file_of(module: str) -> Path | None:
    """The file of a module of the four packages, relative to the root; None if it is none."""
    namespace, *parts = module.split(".")
    if namespace != NAMESPACE or not parts or parts[0] not in PACKAGES:
        return None
    place = Path(*parts)
    for file in (place / "__init__.py", place.with_suffix(".py")):
        if (ROOT / file).is_file():
            return file
    return None


def module_name(file: Path) -> str:
    """The name that a file is imported by."""
    parts = file.with_suffix("").parts
    return ".".join([NAMESPACE, *(parts[:-1] if parts[-1] == "__init__" else parts)])


Arrows = dict[str, dict[str, list[Import]]]
"""Entries of a folder, files and folders, and the imports from one to another."""


def arrows() -> dict[Path, Arrows]:
    """For every folder, the root too, which of its entries import which others.

    An import of a folder from outside is an import of that entry; from inside, of `__init__.py`.
    """
    found: dict[Path, Arrows] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for package in PACKAGES:
        for each in (each for file in files(package) for each in imports(file)):
            target = file_of(each.name)
            if target is not None and target != each.file:
                folder, entry, other = _parted(each.file, target)
                found[folder][entry][other].append(each)
    return found


def _parted(one: Path, other: Path) -> tuple[Path, str, str]:
    """The deepest folder that holds both files, and its entries that they are in."""
    shared = 0
    while one.parts[shared] == other.parts[shared]:
        shared += 1
    return Path(*one.parts[:shared]), one.parts[shared], other.parts[shared]


def circles(arrows: Arrows) -> list[list[str]]:
    """Groups of entries, each of which needs all others of its group."""
    reached = {entry: _reached(entry, arrows) for entry in arrows}
    groups = {
        tuple(sorted(other for other in reached[entry] if entry in reached.get(other, ())))
        for entry in arrows
        if entry in reached[entry]
    }
    return sorted(list(group) for group in groups)


def _reached(start: str, arrows: Arrows) -> set[str]:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        for other in arrows.get(waiting.pop(), {}):
            if other not in seen:
                seen.add(other)
                waiting.append(other)
    return seen
