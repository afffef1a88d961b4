"""The text of --prompt-file: a regular file, or standard input, no longer than a context can be."""

import json
import sys
from pathlib import Path
from typing import BinaryIO

from sala_compile.runtime.artifact.owned import MANIFEST_NAME, MAX_MANIFEST
from sala_compile.runtime.common.files import FileRule, shown
from sala_compile.runtime.common.units import format_bytes, format_tokens
from sala_compile.runtime.errors import RequestError, SalaError
from sala_compile.runtime.text.tokenizers.unicode_text import decode_text

STANDARD_INPUT = Path("-")
BYTES_OF_A_TOKEN = 512
"""Bytes of a token: more than the longest have, so that a text of more bytes cannot fit."""
LEAST = 1 << 20
UNKNOWN = 1 << 15
_MANIFEST = FileRule(what="the manifest", limit=MAX_MANIFEST)


def read_prompt(path: Path, context: int) -> str:
    """The text of a file, or of standard input for `-`, with plain newlines.

    RequestError for what is no regular file, a text that no `context` tokens could spell, which
    is never read whole, and one that is not Unicode.
    """
    limit = max(LEAST, context * BYTES_OF_A_TOKEN)
    if path == STANDARD_INPUT:
        data, where = _standard_input(sys.stdin.buffer, limit, context), "standard input"
    else:
        data, where = _rule(limit, context).read(path), shown(path)
    text = decode_text(data, "the prompt", where)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def default_context(artifact: Path) -> int:
    """The context that an artifact is loaded with, `UNKNOWN` if there is none: loading shows it."""
    try:
        context = json.loads(_MANIFEST.read(artifact / MANIFEST_NAME))["context"]
    except (SalaError, ValueError, LookupError, TypeError, RecursionError):
        return UNKNOWN
    return context if type(context) is int and context > 0 else UNKNOWN


def _rule(limit: int, context: int) -> FileRule:
    return FileRule(
        what="the prompt file",
        limit=limit,
        fix=f"name a regular file that fits the context of {format_tokens(context)} tokens, or "
        "give a larger --context; a pipe is read with --prompt-file -",
    )


def _standard_input(file: BinaryIO, limit: int, context: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while size <= limit and (piece := file.read(min(1 << 20, limit + 1 - size))):
        pieces.append(piece)
        size += len(piece)
    if size > limit:
        raise RequestError(
            f"the prompt has more than {format_bytes(limit)}",
            where="standard input",
            expected=f"a text that fits the context of {format_tokens(context)} tokens",
            fix="give a shorter text, or a larger --context",
        )
    return b"".join(pieces)
