"""The tokens of a GGUF file with their types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sala_compile.sala_ir.checkpoint.gguf.container import Container
from sala_compile.sala_ir.checkpoint.gguf.end_tokens import CONTROL, KINDS

NORMAL, UNKNOWN, USER_DEFINED, UNUSED, BYTE = 1, 2, 4, 5, 6


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """`texts` and `kinds` by id."""

    texts: list[str]
    kinds: list[int]

    def ids(self) -> dict[str, int]:
        """Text -> id, without those that only fill the rows of the embedding."""
        return {text: index for index, text in enumerate(self.texts) if self.kinds[index] != UNUSED}

    def added_tokens(self) -> list[dict[str, Any]]:
        """What is found in a text before anything else, as tokenizer.json has it."""
        return [
            {
                "id": index,
                "content": text,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": kind != USER_DEFINED,
            }
            for index, (text, kind) in enumerate(zip(self.texts, self.kinds, strict=True))
            if kind in (CONTROL, UNKNOWN, USER_DEFINED) and text
        ]

    def text_of(self, token: Any) -> str | None:
        """The text of an id; None where there is none."""
        known = type(token) is int and 0 <= token < len(self.texts)
        return self.texts[token] if known else None


def read_vocabulary(container: Container) -> Vocabulary:
    """The tokens; CheckpointError where texts are missing or twice, or types do not belong."""
    key = "tokenizer.ggml.tokens"
    texts = container.texts(key)
    listed = [NORMAL] * len(texts)
    if KINDS in container.metadata:
        listed = [int(kind) for kind in container.numbers(KINDS)]
    if len(listed) != len(texts):
        raise container.error(
            KINDS,
            f"there are {len(listed)} types for {len(texts)} tokens",
            "a type for each token",
        )
    vocabulary = Vocabulary(texts, listed)
    if len(vocabulary.ids()) + listed.count(UNUSED) != len(texts):
        raise container.error(key, "two tokens have the same text", "every text once")
    return vocabulary
