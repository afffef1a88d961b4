"""Combinations of tokenizer files, by name, and the texts that are tried with each.

`record.py` writes down what transformers makes of them.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import (
    AddedToken,
    Regex,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

TEXTS = (
    "ab c",
    "a<|end|>b",
    "a <|end|> b",
    "</s>a <s>b",
    " a  .b 's",
    "<unk> <|img|>a <plain> b\n",
)
"""Texts that are encoded."""

_SPACE = "\u2581"
_SPECIAL = ("<unk>", "<s>", "</s>")
Files = dict[str, Any]


def _vocabulary(letters: str, *more: str) -> dict[str, int]:
    names = [*_SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *letters, *more]
    return {name: place for place, name in enumerate(dict.fromkeys(names))}


def _finish(core: tokenizers.Tokenizer, *, template: bool = True) -> tokenizers.Tokenizer:
    core.add_special_tokens([AddedToken(text, special=True) for text in _SPECIAL])
    if template:
        core.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", core.token_to_id("<s>"))]
        )
    return core


def sentencepiece(*, template: bool = True, prepend: bool = True) -> tokenizers.Tokenizer:
    """A Llama-style tokenizer: bytes for what has no piece."""
    letters = f"{_SPACE}abc.'s<|end>img/"
    vocabulary = _vocabulary(letters, "ab", f"{_SPACE}a", f"{_SPACE}ab")
    merges = [("a", "b"), (_SPACE, "a"), (f"{_SPACE}a", "b")]
    core = tokenizers.Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", byte_fallback=True)
    )
    replace = normalizers.Replace(" ", _SPACE)
    core.normalizer = (
        normalizers.Sequence([normalizers.Prepend(_SPACE), replace]) if prepend else replace
    )
    core.decoder = decoders.Sequence(
        [
            decoders.Replace(_SPACE, " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            *[decoders.Strip(" ", 1, 0)] * prepend,
        ]
    )
    return _finish(core, template=template)


def byte_level(*, template: bool = False) -> tokenizers.Tokenizer:
    """A GPT-2-style tokenizer."""
    letters = "".join(sorted(pre_tokenizers.ByteLevel.alphabet()))
    vocabulary = _vocabulary(letters, "ab")
    core = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=[("a", "b")]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    return _finish(core, template=template)


def word_piece() -> tokenizers.Tokenizer:
    """A BERT-style tokenizer, which lowers letters."""
    vocabulary = _vocabulary("abc.'s<|>e/", "##b", "##c", "ab")
    core = tokenizers.Tokenizer(models.WordPiece(vocab=vocabulary, unk_token="<unk>"))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"\s"), "removed")
    core.decoder = decoders.WordPiece(cleanup=False)
    return _finish(core)


def _with_plain(core: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    core.add_tokens([AddedToken("<plain>", rstrip=True), AddedToken("<|img|>", normalized=False)])
    return core


CORES = {
    "sentencepiece": sentencepiece,
    "sentencepiece bare": lambda: sentencepiece(template=False),
    "no prefix": lambda: _with_plain(sentencepiece(prepend=False)),
    "byte level": byte_level,
    "word piece": word_piece,
}
CLASSES = (
    *(None, "PreTrainedTokenizerFast", "LlamaTokenizer", "LlamaTokenizerFast", "GPT2Tokenizer"),
    *("Qwen2Tokenizer", "GemmaTokenizer", "GPTNeoXTokenizerFast", "CohereTokenizerFast"),
    *("Qwen3_5Tokenizer", "SomethingElse"),
)
_END = "<|end|>"


def _token(content: str, **flags: Any) -> dict[str, Any]:
    usual = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
    return {"content": content} | usual | flags


def namings(first: int) -> dict[str, Files]:
    """Ways to name tokens; `first` is the first id that no token has."""
    typed = {"__type": "AddedToken"}
    decoder = {str(first): _token(_END, special=True)}
    config, maps, added = (
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
    )
    ways: dict[str, Files] = {
        "nothing": {},
        "decoder": {config: {"added_tokens_decoder": decoder}},
        "decoder, plain": {config: {"added_tokens_decoder": {str(first): _token(_END)}}},
        "decoder, strips": {
            config: {"added_tokens_decoder": {str(first): _token(_END, lstrip=True, rstrip=True)}}
        },
        "decoder overrules file": {
            config: {"added_tokens_decoder": {"2": _token("</s>", lstrip=True, special=False)}}
        },
        "decoder, two": {
            config: {
                "added_tokens_decoder": decoder | {str(first + 5): _token("<|img|>")},
                "eos_token": "<|img|>",
            }
        },
        "decoder empty": {
            config: {"added_tokens_decoder": {}, "eos_token": _END},
            maps: {"pad_token": "<|img|>"},
        },
        "additional": {config: {"additional_special_tokens": [_END]}},
        "additional, typed": {
            config: {"additional_special_tokens": [typed | _token(_END, rstrip=True)]}
        },
        "additional and extra": {
            config: {"additional_special_tokens": [_END], "extra_special_tokens": ["<|img|>"]}
        },
        "additional and no extra": {
            config: {"additional_special_tokens": [_END], "extra_special_tokens": []}
        },
        "extra": {config: {"extra_special_tokens": [_END, "<|img|>"]}},
        "extra object": {config: {"extra_special_tokens": {"image_token": "<|img|>"}}},
        "own part": {config: {"image_token": "<|img|>", "eos_token": _END}},
        "own part, typed": {config: {"image_token": typed | _token("<|img|>", lstrip=True)}},
        "eos": {config: {"eos_token": _END}},
        "eos, typed": {config: {"eos_token": typed | _token(_END, lstrip=True, rstrip=True)}},
        "eos null": {config: {"eos_token": None, "pad_token": "</s>"}},
        "eos of the file": {config: {"eos_token": "<|img|>", "plain_token": "<plain>"}},
        "eos and pad": {config: {"eos_token": _END, "pad_token": _END}},
        "two forms": {
            config: {"eos_token": typed | _token(_END), "pad_token": _END, "unk_token": "<unk>"}
        },
        "eos of the decoder": {
            config: {
                "eos_token": _END,
                "added_tokens_decoder": {str(first): _token(_END, rstrip=True)},
            }
        },
        "map": {maps: {"eos_token": _END, "bos_token": "<s>"}},
        "map, objects": {maps: {"eos_token": _token(_END, rstrip=True)}},
        "map overrules": {config: {"eos_token": "</s>"}, maps: {"eos_token": _END}},
        "map behind decoder": {
            config: {"added_tokens_decoder": decoder},
            maps: {"eos_token": "<|img|>"},
        },
        "map additional": {maps: {"additional_special_tokens": [_END]}},
        "map additional, extra there": {
            config: {"extra_special_tokens": ["<|img|>"]},
            maps: {"additional_special_tokens": [_END]},
        },
        "map extra": {
            config: {"extra_special_tokens": ["<|img|>"]},
            maps: {"extra_special_tokens": [_END, _token("<|new|>", lstrip=True)]},
        },
        "map extra object": {maps: {"extra_special_tokens": {"end_token": _END}}},
        "map own part": {maps: {"image_token": "<|img|>"}},
        "added, special": {config: {"eos_token": _END}, added: {_END: first}},
        "added, far": {added: {_END: first + 3, "<|img|>": first + 1}, maps: {"eos_token": _END}},
        "added, taken": {
            config: {"eos_token": typed | _token(_END, rstrip=True)},
            added: {_END: 0},
        },
        "added, typed": {config: {"extra_special_tokens": [typed | _token("a")]}, added: {"a": 9}},
        "added of the file": {added: {"</s>": 2}},
        "flags": {config: {"eos_token": "</s>", "add_bos_token": False, "add_eos_token": True}},
        "cleaned": {config: {"clean_up_tokenization_spaces": True}},
        "cleaned by force": {
            config: {
                "clean_up_tokenization_spaces": True,
                "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output": True,
            }
        },
        "split": {config: {"split_special_tokens": True, "eos_token": _END}},
        "legacy": {config: {"legacy": True, "eos_token": _END}},
        "no prefix space": {config: {"add_prefix_space": False, "eos_token": _END}},
        "prefix space": {config: {"add_prefix_space": True, "legacy": False}},
    }
    return ways


def cases() -> Iterator[tuple[str, tokenizers.Tokenizer, Files]]:
    """Every combination: its name, tokenizer.json, and the other files by name.

    The ways to name tokens are combined with all tokenizers of a class that reads the file as it
    stands, and with the one tokenizer of the kind that another class is for.
    """
    for core_name, make in CORES.items():
        core = make()
        for class_name in CLASSES:
            if not _fits(core_name, class_name):
                continue
            for way, files in namings(core.get_vocab_size()).items():
                named = {} if class_name is None else {"tokenizer_class": class_name}
                config = named | files.get("tokenizer_config.json", {})
                yield (
                    f"{core_name} / {class_name} / {way}",
                    core,
                    files | {"tokenizer_config.json": config},
                )


def _fits(core_name: str, class_name: str | None) -> bool:
    if class_name is None:
        return True
    if class_name == "LlamaTokenizer":
        return core_name in ("sentencepiece", "byte level")
    if class_name in ("LlamaTokenizerFast", "GemmaTokenizer"):
        return core_name == "sentencepiece bare"
    if class_name in ("PreTrainedTokenizerFast", "SomethingElse"):
        return core_name == "no prefix"
    return core_name == "byte level"


def write(directory: Path, core: tokenizers.Tokenizer, files: Files) -> None:
    """Write a case into `directory`."""
    core.save(str(directory / "tokenizer.json"))
    for name, content in files.items():
        (directory / name).write_text(json.dumps(content), encoding="utf-8")


def id_lists(vocabulary: int) -> list[list[int]]:
    """Ids to be decoded: special ones among ordinary ones."""
    last = [token for token in range(vocabulary) if token > 270]
    return [
        [0, 1, 2, 260, 2, 261, 265, *last[-10:], 2, last[0]],
        [*last[::-7], 264, 265, 1, 0, 5, 259, 263, 259, 264, 265],
    ]
