"""Files of kept prefixes, made by hand."""

import hashlib
from pathlib import Path

import numpy as np

from sala_compile.runtime.serving.kept.kept_file import KeptFileWriter, KeptHeader, KeptKind

IDENTITY = "a" * 64


def digest(name: str) -> bytes:
    """The digest of a text or key of this name."""
    return hashlib.blake2b(name.encode(), digest_size=16).digest()


def header(
    kind: str,
    key: str,
    begin: int,
    end: int,
    parent: str = "",
    identity: str = IDENTITY,
    size: int = 100,
    generated: bool = False,
) -> KeptHeader:
    """The header of a file; `parent` is the key of pages."""
    above = KeptHeader(
        kind=KeptKind.PAGES, identity=identity, key=digest(parent).hex(), begin=0, end=1
    )
    made = KeptHeader(
        kind=KeptKind(kind),
        identity=identity,
        key=digest(key).hex(),
        text=digest(key.removesuffix("'")).hex(),
        boundary=digest(f"{parent} boundary").hex(),
        history=((1, True),) if generated else (),
        parent=above.stem if parent else "",
        begin=begin,
        end=end,
    )
    return made.holding([size, size // 2])


def write_kept(directory: Path, made: KeptHeader) -> Path:
    """The file with some contents."""
    path = directory / made.name
    with path.open("w+b") as file:
        writer = KeptFileWriter(file, made)
        for number, size in enumerate(made.sizes):
            writer.write(contents(number, size))
        writer.finish()
    return path


def contents(number: int, size: int) -> np.ndarray:
    """A piece of a file, uint8."""
    return np.random.default_rng(number).integers(0, 256, size).astype(np.uint8)
