"""The text whose activations show the rounding what matters."""

import hashlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from sala_compile.runtime.common.files import FileRule
from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.text.tokenizer import Tokenizer

SEEDED_TOKENS = 2048
"""Token ids that are drawn where nothing else is known."""
TEXT = "calibration.txt"
_DIGITS = 20
"""Digits of a token id that are read: a longer one is out of range."""
_TEXT = FileRule(
    what="the calibration text",
    limit=256 << 20,
    expected="a file of UTF-8 text, or of token ids",
    fix="name another file with --calibration",
)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Token ids of one sequence, and where they come from, for people."""

    token_ids: tuple[int, ...]
    origin: str

    @property
    def digest(self) -> str:
        """SHA-256 of the token ids, as little-endian int32."""
        return hashlib.sha256(np.asarray(self.token_ids, "<i4").tobytes()).hexdigest()


def calibration_for(
    checkpoint: Path, vocabulary: int, file: Path | None, limit: int
) -> Calibration:
    """The first `limit` tokens of a file, of the text that ships, or seeded token ids.

    A file of whole numbers alone holds token ids; any other is text, and needs the checkpoint's
    tokenizer. Raises RequestError for what cannot be used.
    """
    if file is not None:
        ids, origin = _from_file(file, checkpoint, vocabulary), f"the file {file.name}"
    elif Tokenizer.exists(checkpoint):
        text = (
            resources.files("sala_compile.codegen.quantization")
            .joinpath(TEXT)
            .read_text(encoding="utf-8")
        )
        ids, origin = Tokenizer.from_files(checkpoint).encode(text), "the text of sala-compile"
    else:
        count = min(SEEDED_TOKENS, limit)
        ids = np.random.default_rng(0).integers(0, vocabulary, count).tolist()
        origin = "seeded token ids, as the checkpoint has no tokenizer"
    return Calibration(tuple(ids[:limit]), origin)


def _from_file(file: Path, checkpoint: Path, vocabulary: int) -> list[int]:
    text = _TEXT.read_text(file)
    ids = _numbers(text)
    if ids is None and not Tokenizer.exists(checkpoint):
        raise RequestError(
            "the calibration file is text, and the checkpoint has no tokenizer",
            where=f"--calibration {file}",
            expected="token ids such as 1 17 5",
            fix="give token ids, or add the model's tokenizer.json to the checkpoint",
        )
    if ids is None:
        ids = Tokenizer.from_files(checkpoint).encode(text)
    wrong = next((token for token in ids if not 0 <= token < vocabulary), None)
    if wrong is not None or not ids:
        raise RequestError(
            "the calibration file is empty" if not ids else f"token id {wrong} is out of range",
            where=f"--calibration {file}",
            expected=f"text, or token ids from 0 to {vocabulary - 1}",
        )
    return ids


def _numbers(text: str) -> list[int] | None:
    """Whole numbers between white space, commas or the brackets of a JSON list; or None."""
    words = text.strip().strip("[]").replace(",", " ").split()
    if not words or not all(word.isascii() and word.isdigit() for word in words):
        return None
    return [int(word.lstrip("0")[:_DIGITS] or 0) for word in words]
