"""State files that somebody changed who makes the checksums agree."""

import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sala_compile.runtime.artifact.format_model import canonical_document

_PREFIX = struct.Struct("<8sII32s")


def rewrite(
    path: Path,
    change: Callable[[dict[str, Any]], None] = lambda header: None,
    contents: Callable[[str, np.ndarray], None] = lambda name, words: None,
) -> None:
    """Change the header, and the words (uint16 or uint32) of every section, in place."""
    data = bytearray(path.read_bytes())
    magic, version, length, _ = _PREFIX.unpack_from(data)
    header = json.loads(data[_PREFIX.size : _PREFIX.size + length])
    for section in header["sections"]:
        begin, end = section["offset"], section["offset"] + section["nbytes"]
        width = 2 if section["dtype"] == "bfloat16" else 4
        words = np.frombuffer(data[begin:end], f"u{width}").copy()
        contents(section["name"], words)
        data[begin:end] = words.tobytes()
        section["sha256"] = hashlib.sha256(data[begin:end]).hexdigest()
    change(header)
    text = canonical_document(header)
    start = min((s["offset"] for s in header["sections"]), default=len(data))
    text = text.ljust(start - _PREFIX.size)
    prefix = _PREFIX.pack(magic, version, len(text), hashlib.sha256(text).digest())
    path.write_bytes(prefix + text + data[start:])
