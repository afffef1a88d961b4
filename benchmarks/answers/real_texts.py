"""Real texts that are on this machine: Python's, Debian's, and this repository's own."""

import gzip
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pydoc_data import topics

ROOT = Path(__file__).parents[2]
DEBIAN = Path("/usr/share")


@dataclass(frozen=True, slots=True)
class RealText:
    """A text and where it comes from; `digest` is the SHA-256 of its UTF-8."""

    name: str
    origin: str
    text: str

    @property
    def digest(self) -> str:
        """Of the whole text, 16 hexadecimal digits."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]


def real_texts() -> list[RealText]:
    """The texts, in the order of the table; SystemExit where a Debian text is missing."""
    return [RealText(name, origin, read()) for name, (origin, read) in _READERS.items()]


def _language_reference() -> str:
    found: dict[str, str] = topics.topics
    return "\n\n".join(found[name] for name in ("compound", "exprlists", "typesmapping"))


def _manual() -> str:
    packed = _debian("doc/libpng16-16/libpng-manual.txt.gz", "libpng16-16")
    return gzip.decompress(packed).decode("utf-8", errors="replace")


def _licence() -> str:
    return _debian("common-licenses/GFDL-1.3", "base-files").decode()


def _own_page() -> str:
    return (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def _debian(path: str, package: str) -> bytes:
    found = DEBIAN / path
    if not found.is_file():
        raise SystemExit(f"{found} is missing: install Debian's package {package}")
    return found.read_bytes()


_READERS: dict[str, tuple[str, Callable[[], str]]] = {
    "Python": ("the language reference of this Python (pydoc_data.topics)", _language_reference),
    "libpng": ("Debian's libpng-manual.txt of libpng16-16", _manual),
    "licence": ("Debian's GFDL-1.3 of base-files", _licence),
    "own page": ("CONTRIBUTING.md of this repository, which SmolLM2 never saw", _own_page),
}
