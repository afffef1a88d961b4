"""The tokenizer of a GGUF file, rebuilt as the files that a checkpoint directory has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sala_compile.runtime.common.json_text import quoted
from sala_compile.sala_ir.checkpoint.gguf.byte_level import PRE_TOKENIZERS, byte_level
from sala_compile.sala_ir.checkpoint.gguf.container import Container
from sala_compile.sala_ir.checkpoint.gguf.sentence_pieces import sentence_pieces
from sala_compile.sala_ir.checkpoint.gguf.vocabulary import Vocabulary, read_vocabulary

_PARTS = {
    "bos_token": "bos_token_id",
    "eos_token": "eos_token_id",
    "unk_token": "unknown_token_id",
    "pad_token": "padding_token_id",
}


def write_tokenizer(container: Container, folder: Path) -> tuple[str, ...]:
    """Write tokenizer.json and tokenizer_config.json; a note where the file has no known one.

    Raises CheckpointError where the parts of the tokenizer contradict each other.
    """
    metadata = container.metadata
    kind = metadata.get("tokenizer.ggml.model")
    if kind in (None, "none", "no_vocab"):
        return ("the GGUF file has no tokenizer: the artifact takes and gives token ids",)
    vocabulary = read_vocabulary(container)
    pre = str(metadata.get("tokenizer.ggml.pre", "gpt-2"))
    if kind == "llama":
        document = sentence_pieces(container, vocabulary)
    elif kind == "gpt2" and pre in PRE_TOKENIZERS:
        document = byte_level(container, vocabulary, PRE_TOKENIZERS[pre])
    else:
        of = f"{quoted(kind)} with pre-tokenizer {quoted(pre)}" if kind == "gpt2" else quoted(kind)
        return (
            f"the tokenizer of the GGUF file ({of}) is not rebuilt: the artifact takes and gives "
            "token ids; to have texts, compile the checkpoint directory",
        )
    document["added_tokens"] = vocabulary.added_tokens()
    _write(folder / "tokenizer.json", document)
    _write(folder / "tokenizer_config.json", _config(metadata, vocabulary))
    return ()


def _config(metadata: Mapping[str, Any], vocabulary: Vocabulary) -> dict[str, Any]:
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
    }
    for part, key in _PARTS.items():
        token = vocabulary.text_of(metadata.get(f"tokenizer.ggml.{key}"))
        if token is not None:
            config[part] = token
    templates = {
        key.removeprefix("tokenizer.chat_template").removeprefix(".") or "default": text
        for key, text in metadata.items()
        if isinstance(text, str)
        and (key == "tokenizer.chat_template" or key.startswith("tokenizer.chat_template."))
    }
    if list(templates) == ["default"]:
        config["chat_template"] = templates["default"]
    elif templates:
        config["chat_template"] = [
            {"name": name, "template": text} for name, text in templates.items()
        ]
    return config


def _write(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
