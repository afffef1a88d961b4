"""Tokenizers rebuilt from metadata: the same ids as the tokenizer that the metadata came from."""

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers

from sala_compile.runtime.errors import CheckpointError
from sala_compile.runtime.text.tokenizer import Tokenizer
from sala_compile.sala_ir.checkpoint.gguf.open_gguf import open_gguf
from tests.support.gguf_files import dense_config, write_models

CORPUS = [
    "The old lighthouse keeper climbed the stairs every evening; it's 1984, or 12345678.",
    "  two  spaces,\ttabs\n\n\nand lines \r\n they'LL see\u00a0it ",
    "emoji 😀👩‍👩‍👧 and 漢字かな 한국어 ещё раз café cafe\u0301",
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|> <|im_end|>x<tool>y",
    "",
    " ",
    "\x00\x7f\u200b def f(x):\n    return x**2",
]
DECOMPOSED = [
    "A\u030angstrom ka\u3099 \u30ab\u3099",
    "\u1112\u1161\u11ab e\u0301\u0323 \u2126 \u212b",
]
"""Texts that NFC changes."""
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
DIGITS = pre_tokenizers.Digits(individual_digits=True)
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _cut(pattern: str) -> Any:
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([split, last])


def _gpt2(*first: Any) -> Any:
    return pre_tokenizers.Sequence([*first, pre_tokenizers.ByteLevel(add_prefix_space=False)])


CUTS = {
    "gpt-2": _gpt2(),
    "smollm": _gpt2(DIGITS),
    "llama-bpe": _cut(PATTERN % "{1,3}"),
    "qwen2": _cut(PATTERN % ""),
}


def trained(pre: str) -> tokenizers.Tokenizer:
    core = tokenizers.Tokenizer(models.BPE(ignore_merges=pre == "llama-bpe"))
    core.pre_tokenizer = CUTS[pre]
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(CORPUS * 3, trainer)
    core.add_tokens([AddedToken("<tool>", normalized=False)])
    return core


def metadata(core: tokenizers.Tokenizer, **more: Any) -> dict[str, Any]:
    """What a converter writes of a byte-level tokenizer."""
    ids = core.get_vocab(with_added_tokens=True)
    texts = sorted(ids, key=ids.__getitem__)
    kinds = [3 if text in SPECIAL else 4 if text == "<tool>" else 1 for text in texts]
    merges = json.loads(core.to_str())["model"]["merges"]
    found = {
        "model": "gpt2",
        "tokens": texts,
        "token_type": kinds,
        "merges": [" ".join(pair) for pair in merges],
        "bos_token_id": 1,
        "eos_token_id": 2,
        "add_bos_token": False,
    }
    return {f"tokenizer.ggml.{key}": value for key, value in (found | more).items()}


def rebuilt(tmp_path: Path, keys: dict[str, Any]) -> Path:
    path, _ = write_models(tmp_path, dense_config(vocab_size=512), metadata=keys)
    folder = tmp_path / "files"
    folder.mkdir()
    with open_gguf(path, folder) as checkpoint:
        (tmp_path / "end.json").write_text(json.dumps(checkpoint.config["eos_token_id"]))
        (tmp_path / "notes.json").write_text(json.dumps(checkpoint.notes))
    return folder


@pytest.mark.parametrize("pre", CUTS)
def test_byte_level_gives_the_same_ids(tmp_path: Path, pre: str):
    """Those of llama.cpp too (compared with llama-cpp-python 0.3.36), which composes nothing."""
    core = trained(pre)
    found = Tokenizer.from_files(rebuilt(tmp_path, metadata(core, pre=pre)))
    for text in [*CORPUS, *DECOMPOSED]:
        ids = core.encode(text).ids
        assert found.encode(text) == ids
        assert found.decode(ids) == core.decode(ids)
    assert found.special_tokens["eos_token"] == "<|im_end|>"


def test_a_text_begins_with_the_first_token_where_the_file_says_so(tmp_path: Path):
    core = trained("smollm")
    keys = metadata(core, pre="smollm", add_bos_token=True, add_eos_token=True)
    found = Tokenizer.from_files(rebuilt(tmp_path, keys))
    assert found.encode("the") == [1, *core.encode("the").ids, 2]
    assert found.encode("the", special=False) == core.encode("the").ids


def test_end_tokens_and_templates(tmp_path: Path):
    keys = metadata(trained("smollm"), pre="smollm", eos_token_id=2)
    keys |= {"tokenizer.chat_template": "{{ messages }}", "tokenizer.chat_template.tools": "t"}
    folder = rebuilt(tmp_path, keys)
    assert json.loads((tmp_path / "end.json").read_text()) == [2, 0]
    config = json.loads((folder / "tokenizer_config.json").read_text())
    assert [entry["name"] for entry in config["chat_template"]] == ["default", "tools"]


def sentence_pieces() -> tuple[tokenizers.Tokenizer, dict[str, Any]]:
    """A BPE with bytes to fall back to, and what a converter writes of such a vocabulary."""
    core = tokenizers.Tokenizer(models.BPE())
    core.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    core.train_from_iterator(
        CORPUS[:2] * 3, trainers.BpeTrainer(vocab_size=120, show_progress=False)
    )
    model = json.loads(core.to_str())["model"]
    first = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    merged = ["".join(pair) for pair in model["merges"]]
    letters = [text for text in model["vocab"] if text not in merged]
    texts = [*first, *merged, *letters]
    core.model = models.BPE(
        vocab={text: index for index, text in enumerate(texts)},
        merges=[tuple(pair) for pair in model["merges"]],
        unk_token="<unk>",
        fuse_unk=True,
        byte_fallback=True,
    )
    core.add_special_tokens(["<unk>", "<s>", "</s>"])
    keys = {
        "model": "llama",
        "tokens": texts,
        "scores": [0.0] * 259 + [-float(index) for index in range(len(texts) - 259)],
        "token_type": [2, 3, 3] + [6] * 256 + [1] * (len(texts) - 259),
        "bos_token_id": 1,
        "eos_token_id": 2,
        "unknown_token_id": 0,
    }
    return core, {f"tokenizer.ggml.{key}": value for key, value in keys.items()}


def test_sentence_pieces_give_the_same_ids(tmp_path: Path):
    core, keys = sentence_pieces()
    found = Tokenizer.from_files(rebuilt(tmp_path, keys))
    for text in [*CORPUS, "a<s>b </s> c"]:
        assert found.encode(text) == [1, *core.encode(text).ids]
        if "<" not in text:
            assert found.decode(found.encode(text)) == text


def test_a_tokenizer_that_is_not_known_is_told(tmp_path: Path):
    folder = rebuilt(tmp_path, metadata(trained("gpt-2"), pre="novel"))
    assert not Tokenizer.exists(folder)
    assert "novel" in (tmp_path / "notes.json").read_text()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"token_type": [1, 2]}, "token_type"),
        ({"token_type": "many"}, "token_type"),
        ({"tokens": ["a", "a"], "token_type": [1, 1]}, "same text"),
        ({"tokens": [1, 2]}, "tokens"),
        ({"merges": ["no-pair"]}, "merge 0"),
        ({"merges": None}, "merges"),
        ({"add_bos_token": True, "bos_token_id": 99999}, "bos_token_id"),
    ],
)
def test_parts_that_contradict_each_other(tmp_path: Path, change: dict[str, Any], named: str):
    keys = metadata(trained("gpt-2"), pre="gpt-2", **change)
    with pytest.raises(CheckpointError, match=named):
        rebuilt(tmp_path, keys)
