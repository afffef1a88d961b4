"""Byte-level BPE: tokenizer.json from tokens, merges and the name of the pre-tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sala_compile.sala_ir.checkpoint.gguf.container import Container
from sala_compile.sala_ir.checkpoint.gguf.vocabulary import Vocabulary

_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_AFTER_DIGITS = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LETTERS = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|"
_LLAMA3 = _LETTERS + r"\p{N}{1,3}" + _AFTER_DIGITS
_QWEN2 = _LETTERS + r"\p{N}" + _AFTER_DIGITS


@dataclass(frozen=True, slots=True)
class PreTokenizer:
    """How a text is cut before merges: by `pattern`, or by GPT-2's (`digits`: each on its own).

    `whole`: a piece that is a token needs no merges. `begins`: a text begins with the first token
    unless the file says otherwise.

    Texts are not normalised: a file says nothing of it, and llama.cpp, for which files are made,
    does not. The tokenizer.json of Qwen2 composes characters (NFC); a directory with it does so.
    """

    pattern: str | None = None
    digits: bool = False
    whole: bool = False
    begins: bool = False


_DIGITS = PreTokenizer(digits=True)
_LLAMA = PreTokenizer(_LLAMA3, whole=True, begins=True)
PRE_TOKENIZERS: Mapping[str, PreTokenizer] = {
    "gpt-2": PreTokenizer(),
    **dict.fromkeys(("smollm", "starcoder", "refact"), _DIGITS),
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3"), _LLAMA),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen"), PreTokenizer(_QWEN2)),
}
"""tokenizer.ggml.pre -> what it stands for."""


def byte_level(container: Container, vocabulary: Vocabulary, pre: PreTokenizer) -> dict[str, Any]:
    """The document, without the added tokens."""
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": _cuts(pre)},
        "post_processor": beginning(container, vocabulary, pre.begins),
        "decoder": _bytes(use_regex=True),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": pre.whole,
            "vocab": vocabulary.ids(),
            "merges": _merges(container),
        },
    }


def beginning(container: Container, vocabulary: Vocabulary, default: bool) -> dict[str, Any] | None:
    """What puts the first and the last token around a text; None for neither."""
    metadata = container.metadata
    flags = {"bos": default, "eos": False}
    texts: dict[str, str] = {}
    for part, usual in flags.items():
        if metadata.get(f"tokenizer.ggml.add_{part}_token", usual):
            key = f"tokenizer.ggml.{part}_token_id"
            text = vocabulary.text_of(metadata.get(key))
            if text is None:
                raise container.error(key, "there is no such token", "the id of a token")
            texts[part] = text
    if not texts:
        return None
    ids = vocabulary.ids()
    single = _around(texts, "A", 0)
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, *_around(texts, "B", 1)],
        "special_tokens": {
            text: {"id": text, "ids": [ids[text]], "tokens": [text]} for text in texts.values()
        },
    }


def _around(texts: dict[str, str], sequence: str, kind: int) -> list[dict[str, Any]]:
    """A text between the tokens that begin and end it."""
    first, last = (
        [{"SpecialToken": {"id": texts[part], "type_id": kind}}] if part in texts else []
        for part in ("bos", "eos")
    )
    return [*first, {"Sequence": {"id": sequence, "type_id": kind}}, *last]


def _cuts(pre: PreTokenizer) -> list[dict[str, Any]]:
    cuts: list[dict[str, Any]] = []
    if pre.digits:
        cuts.append({"type": "Digits", "individual_digits": True})
    if pre.pattern is not None:
        pattern = {"Regex": pre.pattern}
        cuts.append({"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False})
    return [*cuts, _bytes(use_regex=pre.pattern is None)]


def _bytes(*, use_regex: bool) -> dict[str, Any]:
    return {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": use_regex,
    }


def _merges(container: Container) -> list[list[str]]:
    key = "tokenizer.ggml.merges"
    pairs = [merge.split(" ") for merge in container.texts(key)]
    wrong = next((index for index, pair in enumerate(pairs) if len(pair) != 2), None)
    if wrong is not None:
        raise container.error(key, f"merge {wrong} is no pair", "two tokens and a space between")
    return pairs
