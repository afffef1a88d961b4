"""What an installer would install for our package, and a folder with nothing but that."""

import tomllib
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.imports import ROOT


def required(*extras: str) -> set[str]:
    """Names of all packages that our package needs with the extras, by what each of them says."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines: list[str] = list(project["dependencies"])
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    found: set[tuple[str, str]] = set()
    waiting = [Requirement(line) for line in lines]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for extra in ("", *requirement.extras):
            if (name, extra) not in found:
                found.add((name, extra))
                waiting += _needs(name, extra)
    return {name for name, _ in found}


def _needs(name: str, extra: str) -> list[Requirement]:
    needs = [Requirement(line) for line in distribution(name).requires or ()]
    return [n for n in needs if n.marker is None or n.marker.evaluate({"extra": extra})]


def link(names: set[str], folder: Path) -> Path:
    """Make a folder of links to the packages as they are installed here, and return it."""
    folder.mkdir(parents=True)
    for name in names:
        for file in distribution(name).files or ():
            place = folder / file.parts[0]
            if file.parts[0] != ".." and not place.exists():
                place.symlink_to(Path(str(distribution(name).locate_file(file.parts[0]))))
    return folder
