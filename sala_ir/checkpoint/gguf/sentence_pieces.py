"""SentencePiece BPE: tokenizer.json from tokens and scores."""

from __future__ import annotations

from typing import Any

from sala_compile.sala_ir.checkpoint.gguf.byte_level import beginning
from sala_compile.sala_ir.checkpoint.gguf.container import Container
from sala_compile.sala_ir.checkpoint.gguf.vocabulary import NORMAL, USER_DEFINED, Vocabulary

_SPACE = "\u2581"


def sentence_pieces(container: Container, vocabulary: Vocabulary) -> dict[str, Any]:
    """The document, without the added tokens: bytes stand for what is no token."""
    metadata = container.metadata
    prefixed = bool(metadata.get("tokenizer.ggml.add_space_prefix", True))
    before: list[dict[str, Any]] = [{"type": "Prepend", "prepend": _SPACE}] * prefixed
    before.append({"type": "Replace", "pattern": {"String": " "}, "content": _SPACE})
    after: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if prefixed:
        after.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "normalizer": {"type": "Sequence", "normalizers": before},
        "pre_tokenizer": None,
        "post_processor": beginning(container, vocabulary, default=True),
        "decoder": {"type": "Sequence", "decoders": after},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": vocabulary.text_of(metadata.get("tokenizer.ggml.unknown_token_id")),
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": vocabulary.ids(),
            "merges": _merges(container, vocabulary),
        },
    }


def _merges(container: Container, vocabulary: Vocabulary) -> list[list[str]]:
    """Every way to join two pieces to a third, the third with the best score first."""
    key = "tokenizer.ggml.scores"
    scores = container.numbers(key)
    if len(scores) != len(vocabulary.texts):
        raise container.error(
            key, f"there are {len(scores)} scores", f"{len(vocabulary.texts)}, one for each token"
        )
    ids = {
        text: index
        for text, index in vocabulary.ids().items()
        if vocabulary.kinds[index] in (NORMAL, USER_DEFINED)
    }
    found: list[tuple[float, int, int]] = []
    for text, index in ids.items():
        for cut in range(1, len(text)):
            left, right = ids.get(text[:cut]), ids.get(text[cut:])
            if left is not None and right is not None:
                found.append((-float(scores[index]), left, right))
    texts = vocabulary.texts
    return [[texts[left], texts[right]] for _, left, right in sorted(found)]
