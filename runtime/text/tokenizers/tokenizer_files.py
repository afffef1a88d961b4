"""The tokenizer files of a checkpoint or an artifact, read as documents within limits."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sala_compile.runtime.artifact.reader import Artifact
from sala_compile.runtime.common.files import FileRule, stands
from sala_compile.runtime.common.json_text import JsonLimits, parse_object
from sala_compile.runtime.errors import ArtifactError

TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"
SPECIAL_TOKENS_MAP_FILE = "special_tokens_map.json"
ADDED_TOKENS_FILE = "added_tokens.json"
MODEL_FILE = "tokenizer.model"

_LIMITS = JsonLimits(size=128 << 20, depth=64, values=4_000_000)
"""Several times what the largest published tokenizers take."""

Read = Callable[[str], bytes | None]
"""The bytes of the file of a name, None if there is none."""


@dataclass(frozen=True)
class TokenizerFiles:
    """Tokenizer files by name: `read` gives their bytes, `where` their place in messages."""

    read: Read
    where: Callable[[str], str]

    @staticmethod
    def of_directory(directory: Path) -> "TokenizerFiles":
        """The files of a checkpoint; what is no regular file is refused when it is read."""

        def read(name: str) -> bytes | None:
            path = directory / name
            rule = FileRule(what=name, limit=_LIMITS.size, error=ArtifactError, fix=_fix(name))
            return rule.read(path) if stands(path) else None

        return TokenizerFiles(read, lambda name: str(directory / name))

    @staticmethod
    def of_artifact(artifact: Artifact) -> "TokenizerFiles":
        """The files of an artifact, each checked against its hash when it is read."""

        def read(name: str) -> bytes | None:
            return artifact.read_bytes(name) if artifact.has(name) else None

        return TokenizerFiles(read, lambda name: str(artifact.directory / name))

    def document(self, name: str) -> dict[str, Any] | None:
        """The JSON object of the file `name`, None if there is no such file.

        ArtifactError for what is no JSON object in UTF-8, too large or nested too deeply.
        """
        data = self.read(name)
        if data is None:
            return None
        return parse_object(data, self.where(name), ArtifactError, fix=_fix(name), limits=_LIMITS)

    @cached_property
    def tokenizer(self) -> dict[str, Any] | None:
        """tokenizer.json."""
        return self.document(TOKENIZER_FILE)

    @cached_property
    def config(self) -> dict[str, Any]:
        """tokenizer_config.json, empty if there is none."""
        return self.document(CONFIG_FILE) or {}

    def refused(self, name: str, found: str, expected: str | None = None) -> ArtifactError:
        """The error for a file `name` of which `found` is true."""
        return ArtifactError(found, self.where(name), expected, _fix(name))


def _fix(name: str) -> str:
    return f"compile again, from a checkpoint whose {name} is whole"
