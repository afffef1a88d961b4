"""From tokenizer files to a tokenizer of the library, with every special token that they name."""

import json
from contextlib import suppress
from typing import Any

import tokenizers
from tokenizers import processors

from sala_compile.runtime.errors import ArtifactError
from sala_compile.runtime.text.tokenizers.classes import TokenizerClass, build, tokenizer_class
from sala_compile.runtime.text.tokenizers.library_calls import library_errors
from sala_compile.runtime.text.tokenizers.special_tokens import SpecialTokens, read_special_tokens
from sala_compile.runtime.text.tokenizers.tokenizer_files import (
    CONFIG_FILE,
    TOKENIZER_FILE,
    TokenizerFiles,
)
from sala_compile.runtime.text.tokenizers.tokenizer_limits import check_added, check_limits

_TRIALS = ("", "a b\n", "ab\u4f60")


def load_core(files: TokenizerFiles) -> tuple[tokenizers.Tokenizer, SpecialTokens]:
    """The tokenizer of `files` and their special tokens; ArtifactError if one is damaged."""
    document = files.tokenizer or {}
    check_limits(document, files.where(TOKENIZER_FILE))
    made = tokenizer_class(files)
    special = read_special_tokens(files, None if made is None else made.defaults)
    with library_errors(
        ArtifactError,
        "the tokenizer cannot be read",
        where=files.where(TOKENIZER_FILE),
        expected="a tokenizer as the library tokenizers writes it",
        fix="compile again, from a checkpoint whose tokenizer.json is whole",
    ):
        core = _core(files, document, made, special)
        core.no_truncation()
        core.no_padding()
        core.encode_special_tokens = bool(files.config.get("split_special_tokens", False))
        for text in _TRIALS:
            with suppress(Exception):  # a vocabulary may lack these letters; a panic is damage
                core.encode(text)
    return core, special


def template_variables(files: TokenizerFiles) -> dict[str, str]:
    """Text of each special token by its part, as chat templates see them."""
    made = None if files.tokenizer is None else tokenizer_class(files)
    return read_special_tokens(files, None if made is None else made.defaults).texts


def parts_of(**states: Any) -> tokenizers.Tokenizer:
    """A tokenizer without a vocabulary whose parts, such as `normalizer`, have these states."""
    empty: dict[str, Any] = {"type": "BPE", "vocab": {}, "merges": []}
    return tokenizers.Tokenizer.from_str(json.dumps({"model": empty} | states))


def _core(
    files: TokenizerFiles,
    document: dict[str, Any],
    made: TokenizerClass | None,
    special: SpecialTokens,
) -> tokenizers.Tokenizer:
    if made is None:
        core = tokenizers.Tokenizer.from_buffer(files.read(TOKENIZER_FILE) or b"")
    else:
        core = build(files, made, special.texts)
        core.post_processor = parts_of(post_processor=document.get("post_processor")).post_processor
    tokens = special.to_add(core.get_added_tokens_decoder())
    check_added((token.content for token in tokens), files.where(CONFIG_FILE))
    core.add_tokens(tokens)
    if made is not None and made.adds_again is not None:
        core.add_special_tokens([made.adds_again(token) for token in special.all])
    if made is not None and made.bare:
        core.post_processor = processors.TemplateProcessing(single="$A", special_tokens=[])
    return core
