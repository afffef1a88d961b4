"""Artifacts that somebody changed who makes the hashes agree, as a hostile author would."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sala_compile.runtime.artifact import MANIFEST_NAME
from sala_compile.runtime.artifact.format_model import canonical_document

Change = Callable[[Any], None]


def edit(directory: Path, name: str, change: Change) -> None:
    """Change a JSON file of an artifact, and repair the manifest."""
    path = directory / name
    document = json.loads(path.read_bytes())
    change(document)
    path.write_text(json.dumps(document))
    repair(directory)


def repair(directory: Path) -> None:
    """Give the manifest the size and hash of every file that it lists, and its own digest."""
    path = directory / MANIFEST_NAME
    manifest = json.loads(path.read_bytes())
    for name in manifest["files"]:
        data = (directory / name).read_bytes()
        entry = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        manifest["files"][name] = entry
    manifest["digest"] = ""
    manifest["digest"] = hashlib.sha256(canonical_document(manifest)).hexdigest()
    path.write_bytes(canonical_document(manifest))


def put(*path: Any) -> Change:
    """What sets the value at a path of keys: `put("a", 0, "b", value)`."""
    *keys, last, value = path

    def change(document: Any) -> None:
        for key in keys:
            document = document[key]
        document[last] = value

    return change
