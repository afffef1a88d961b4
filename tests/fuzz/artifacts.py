"""A damaged artifact whose hashes are right again: as a hostile author would hand it out."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from sala_compile.runtime.artifact.format_model import canonical_document

MANIFEST = "manifest.json"


def mended(
    files: Mapping[str, bytes | None], manifest: Mapping[str, Any]
) -> dict[str, bytes | None]:
    """The changed files, and a manifest that has their sizes and hashes, and its own digest."""
    entries = dict(manifest["files"])
    for name, data in files.items():
        if data is not None and name in entries:
            digest = hashlib.sha256(data).hexdigest()
            entries[name] = {"size": len(data), "sha256": digest}
    document = {**manifest, "files": entries}
    return {**files, MANIFEST: sealed(json.dumps(document).encode())}


def sealed(text: bytes) -> bytes:
    """A manifest with the digest of what it says, where it is an object that has one."""
    try:
        document = json.loads(text)
        blank = canonical_document(document | {"digest": ""})
        digest = hashlib.sha256(blank).hexdigest()
    except (ValueError, TypeError, RecursionError):
        return text
    found = document.get("digest")
    if isinstance(found, str) and len(found) == 64 and text.count(found.encode()) == 1:
        return text.replace(found.encode(), digest.encode())  # spelled as the case spells it
    return json.dumps(document | {"digest": digest}).encode()
