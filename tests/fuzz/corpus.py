"""Inputs that failed once, each a readable file: `corpus/TARGET/NAME.json`."""

from pathlib import Path

from tests.fuzz.case import Case, from_json

ROOT = Path(__file__).parent / "corpus"


def path_of(target: str, name: str) -> Path:
    """The file of an input; its directory is made."""
    folder = ROOT / target
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.json"


def names(target: str) -> list[str]:
    """The inputs of a target, in order."""
    return sorted(path.stem for path in (ROOT / target).glob("*.json"))


def cases(target: str) -> list[Case]:
    """Their cases, in the same order."""
    return [from_json(path_of(target, name).read_text()) for name in names(target)]
