"""The tokens that end an answer."""

from __future__ import annotations

from sala_compile.runtime.common.json_text import quoted
from sala_compile.sala_ir.checkpoint.gguf.container import Container

_KEYS = ("eos_token_id", "eot_token_id", "eom_token_id")
KINDS = "tokenizer.ggml.token_type"
"""The key with the types of tokens."""
CONTROL = 3
"""The type of a token that no text spells."""
_TEXTS = ("<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<|end|>", "<|endoftext|>", "<end_of_turn>")
_ENDS = frozenset((text, CONTROL) for text in (*_TEXTS, "<EOT>"))
"""Control tokens that end a turn wherever a vocabulary has them, as llama.cpp takes them."""


def end_token_ids(container: Container) -> list[int]:
    """The end of a text first, of a turn, of a message, and the known ones by their text.

    CheckpointError for a value that is no token id.
    """
    metadata = container.metadata
    found = [_token(container, f"tokenizer.ggml.{key}") for key in _KEYS]
    tokens, kinds = metadata.get("tokenizer.ggml.tokens"), metadata.get(KINDS)
    if isinstance(tokens, list) and isinstance(kinds, list):
        pairs = zip(
            container.texts("tokenizer.ggml.tokens"), container.numbers(KINDS), strict=False
        )
        known = (pair in _ENDS for pair in pairs)
        found += [index for index, ends in enumerate(known) if ends]
    return list(dict.fromkeys(token for token in found if token is not None))


def _token(container: Container, key: str) -> int | None:
    found = container.metadata.get(key)
    if found is not None and type(found) is not int:
        raise container.error(key, f"the value is {quoted(found)}", "a token id")
    return found
