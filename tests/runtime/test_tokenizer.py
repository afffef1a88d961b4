"""Encoding with special tokens, and decoding in a stream."""

import json
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import processors

from runtime.errors import ArtifactError, RequestError
from runtime.tokenizer import Tokenizer
from tests.support.tokenizers import BOS, EOS, byte_level, llama


def _load(directory: Path, core: tokenizers.Tokenizer, config: dict | None = None) -> Tokenizer:
    core.save(str(directory / "tokenizer.json"))
    if config is not None:
        (directory / "tokenizer_config.json").write_text(json.dumps(config))
    return Tokenizer.from_files(directory)


def _streamed(tokenizer: Tokenizer, ids: list[int], context: tuple[int, ...] = ()) -> list[str]:
    decoder = tokenizer.stream(context)
    return [*(decoder.push(token) for token in ids), decoder.flush()]


def test_absence_is_named(tmp_path: Path):
    assert not Tokenizer.exists(tmp_path)
    with pytest.raises(RequestError, match="no tokenizer"):
        Tokenizer.from_files(tmp_path)


@pytest.mark.parametrize("content", ["", "{}", "no json", '{"model": 3}'])
def test_a_broken_file_is_one_clear_error(tmp_path: Path, content: str):
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ArtifactError, match=r"tokenizer\.json"):
        Tokenizer.from_files(tmp_path)


def test_a_broken_configuration_is_one_clear_error(tmp_path: Path):
    _load(tmp_path, byte_level())
    (tmp_path / "tokenizer_config.json").write_text("[1")
    with pytest.raises(ArtifactError, match=r"tokenizer_config\.json"):
        Tokenizer.from_files(tmp_path)


def test_bytes_that_were_no_utf8_are_refused(tmp_path: Path):
    argument = b"caf\xe9".decode("utf-8", "surrogateescape")  # as the command line gives it
    with pytest.raises(RequestError, match="not UTF-8") as caught:
        _load(tmp_path, byte_level()).encode(argument)
    assert "character 3" in str(caught.value)


def _with_template(core: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    core.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A {EOS}",
        special_tokens=[(name, core.token_to_id(name)) for name in (BOS, EOS)],
    )
    return core


@pytest.mark.parametrize(
    ("config", "before", "after"),
    [
        (None, True, True),
        ({}, True, True),
        ({"bos_token": BOS, "eos_token": EOS, "add_bos_token": False}, False, True),
        ({"bos_token": BOS, "eos_token": EOS, "add_eos_token": False}, True, False),
        ({"bos_token": BOS, "eos_token": EOS, "tokenizer_class": "LlamaTokenizer"}, True, False),
        ({"bos_token": {"content": BOS}, "add_bos_token": True}, True, False),
    ],
)
def test_special_tokens_follow_the_configuration(
    tmp_path: Path, config: dict | None, before: bool, after: bool
):
    tokenizer = _load(tmp_path, _with_template(byte_level()), config)
    bos, eos = (tokenizer.core.token_to_id(name) for name in (BOS, EOS))
    plain = tokenizer.encode("ab", special=False)
    assert tokenizer.encode("ab") == [bos] * before + plain + [eos] * after
    assert len(plain) == 2


def test_llama_class_adds_bos_without_a_post_processor(tmp_path: Path):
    config = {"bos_token": BOS, "tokenizer_class": "LlamaTokenizerFast"}
    tokenizer = _load(tmp_path, byte_level(), config)
    assert tokenizer.encode("a")[0] == tokenizer.core.token_to_id(BOS)


def test_truncation_in_the_file_is_ignored(tmp_path: Path):
    core = byte_level()
    core.enable_truncation(4)
    assert len(_load(tmp_path, core).encode("longer than four")) == 16


def test_no_half_character_is_shown(tmp_path: Path):
    tokenizer = _load(tmp_path, byte_level())
    text = "a\u00e9\u4f60\U0001f600z"
    pieces = _streamed(tokenizer, tokenizer.encode(text))
    assert "".join(pieces) == text
    assert all("\ufffd" not in piece for piece in pieces)
    assert pieces == ["a", "", "\u00e9", "", "", "\u4f60", "", "", "", "\U0001f600", "z", ""]


def test_invalid_bytes_do_not_spoil_the_next_character(tmp_path: Path):
    tokenizer = _load(tmp_path, byte_level())
    invalid = tokenizer.encode("\u4f60")[:1] * 5
    text = "".join(_streamed(tokenizer, invalid + tokenizer.encode("\u4f60!")))
    assert text == "\ufffd" * 5 + "\u4f60!"


def test_an_unfinished_character_comes_at_the_end(tmp_path: Path):
    tokenizer = _load(tmp_path, byte_level())
    assert _streamed(tokenizer, tokenizer.encode("a\u4f60")[:3]) == ["a", "", "", "\ufffd"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["\u2581Hi", "\u2581there", "!"], ["Hi", " there", "!", ""]),
        (["\u2581", "\u2581there"], ["", " there", ""]),
        (["\u2581Hi", BOS, "\u2581there"], ["Hi", "", " there", ""]),
        (["\u2581Hi", "\u2581\u2581", "x"], ["Hi", "  ", "x", ""]),
        (["<0xE4>", "<0xBD>", "<0xA0>", "\u2581Hi"], ["", "", "\u4f60", " Hi", ""]),
    ],
)
def test_spaces_survive_the_seams(tmp_path: Path, words: list[str], expected: list[str]):
    tokenizer = _load(tmp_path, llama())
    ids = [tokenizer.core.token_to_id(word) for word in words]
    assert _streamed(tokenizer, ids) == expected


def test_a_context_keeps_the_first_space(tmp_path: Path):
    tokenizer = _load(tmp_path, llama())
    hi, there = (tokenizer.core.token_to_id(word) for word in ("\u2581Hi", "\u2581there"))
    assert _streamed(tokenizer, [there], context=(1, hi)) == [" there", ""]


@given(text=st.text(max_size=30), cut=st.integers(0, 30))
def test_streaming_equals_decoding(text: str, cut: int):
    tokenizer = Tokenizer(byte_level([("a", "b"), ("ab", "c")]), {})
    ids = tokenizer.encode(text)
    assert "".join(_streamed(tokenizer, ids)) == tokenizer.decode(ids) == text
    if cut <= len(ids):  # a prompt that ends anywhere, inside a character too
        rest = "".join(_streamed(tokenizer, ids[cut:], context=tuple(ids[:cut])))
        assert text.endswith(rest)
        assert len(tokenizer.decode(ids[:cut]).rstrip("\ufffd")) + len(rest) >= len(text)
