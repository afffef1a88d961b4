"""Loading and encoding: what is damaged, what fails, what stands around a text."""

import json
import os
from pathlib import Path

import pytest
import tokenizers
from tokenizers import Regex, models, pre_tokenizers, processors

from sala_compile.runtime.errors import ArtifactError, RequestError
from sala_compile.runtime.text.tokenizer import Tokenizer
from sala_compile.runtime.text.tokenizers.library_calls import library_errors
from tests.support.tokenizers import BOS, EOS, byte_level, token_id


def _load(directory: Path, core: tokenizers.Tokenizer, config: dict | None = None) -> Tokenizer:
    core.save(str(directory / "tokenizer.json"))
    if config is not None:
        (directory / "tokenizer_config.json").write_text(json.dumps(config))
    return Tokenizer.from_files(directory)


def test_absence_is_named(tmp_path: Path):
    assert not Tokenizer.exists(tmp_path)
    with pytest.raises(RequestError, match="no tokenizer"):
        Tokenizer.from_files(tmp_path)


_DEEP = '{"model":' * 100_000
_BROKEN = {
    "empty": "",
    "an empty object": "{}",
    "no json": "no json",
    "a list": "[]",
    "no model": '{"model": 3}',
    "deep": _DEEP,
    "digits": '{"model": ' + "9" * 5000 + "}",
    "not UTF-8": b'{"model": "\xff"}',
    "UTF-16": '{"model": 3}'.encode("utf-16"),
    "a pointer": "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    "twice": '{"model": 1, "model": 2}',
    "infinite": '{"model": 1e999}',
}


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", _BROKEN.values(), ids=_BROKEN)
def test_a_broken_file_is_one_clear_error(tmp_path: Path, name: str, content: str | bytes):
    byte_level().save(str(tmp_path / "tokenizer.json"))
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    if name == "tokenizer_config.json" and content in ("{}", '{"model": 3}'):
        Tokenizer.from_files(tmp_path)
        return
    with pytest.raises(ArtifactError) as caught:
        Tokenizer.from_files(tmp_path)
    assert name in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_tokenizer_that_is_no_regular_file_is_refused(tmp_path: Path):
    os.mkfifo(tmp_path / "tokenizer.json")
    assert Tokenizer.exists(tmp_path)
    with pytest.raises(ArtifactError, match="is a pipe"):
        Tokenizer.from_files(tmp_path)


def _panics() -> tokenizers.Tokenizer:
    """A tokenizer whose regular expression passes the engine's limit: its native code panics."""
    core = byte_level()
    core.pre_tokenizer = pre_tokenizers.Split(Regex("(a+)+b"), "isolated")
    return core


def test_a_panic_of_native_code_is_one_error():
    with pytest.raises(RequestError, match="the tokenizer fails on this text"):
        Tokenizer(_panics(), {}).encode("a" * 40)
    with pytest.raises(RequestError, match="the tokenizer fails on this text"):
        Tokenizer(_panics(), {}).encode_continuation("a" * 40, [1])


_PANICS = {
    "no pieces": {"pre_tokenizer": {"type": "FixedLength", "length": 0}},
    "nothing found": {"normalizer": {"type": "Replace", "pattern": {"String": ""}, "content": "x"}},
    "no text to begin with": {"normalizer": {"type": "Prepend", "prepend": ""}},
    "a tree that points nowhere": {
        "normalizer": {"type": "Precompiled", "precompiled_charsmap": "CAAAAP////////8AAA=="}
    },
    "an unknown token": {
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "?", "type_id": 0}}],
            "pair": [],
            "special_tokens": {},
        }
    },
}


@pytest.mark.parametrize("name", _PANICS)
def test_a_tokenizer_that_panics_on_any_text_is_damaged(tmp_path: Path, name: str):
    document = json.loads(byte_level().to_str())
    (tmp_path / "tokenizer.json").write_text(json.dumps(document | _PANICS[name]))
    with pytest.raises(ArtifactError, match="the tokenizer cannot be read"):
        Tokenizer.from_files(tmp_path)


def test_a_vocabulary_may_lack_letters(tmp_path: Path):
    core = tokenizers.Tokenizer(models.WordLevel({"x": 0}, unk_token="?"))
    tokenizer = _load(tmp_path, core)
    assert tokenizer.encode("x") == [0]
    with pytest.raises(RequestError, match="the tokenizer fails on this text"):
        tokenizer.encode("a")


def test_ctrl_c_is_no_error_of_the_library():
    with pytest.raises(KeyboardInterrupt), library_errors(RequestError, "the tokenizer fails"):
        raise KeyboardInterrupt


@pytest.mark.parametrize("ids", [[-1], [2**32], ["a"], [1.5], [None]])
def test_ids_that_are_none_are_refused(ids: list):
    tokenizer = Tokenizer(byte_level(), {})
    with pytest.raises(RequestError, match="no token id"):
        tokenizer.decode(ids)
    if ids != [1.5]:
        with pytest.raises(RequestError, match="no token id"):
            tokenizer.stream().push(ids[0])


@pytest.mark.parametrize("text", [None, b"a", 3, ["a"]])
def test_what_is_no_text_is_refused(text: object):
    tokenizer = Tokenizer(byte_level(), {})
    with pytest.raises(RequestError, match="is no text"):
        tokenizer.encode(text)  # pyright: ignore[reportArgumentType]
    with pytest.raises(RequestError, match="is no text"):
        tokenizer.encode_continuation(text)  # pyright: ignore[reportArgumentType]


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


def test_what_stands_around_a_text_is_what_the_post_processor_says(tmp_path: Path):
    core = byte_level()
    core.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A {EOS}",
        special_tokens=[(name, token_id(core, name)) for name in (BOS, EOS)],
    )
    config = {"bos_token": BOS, "add_bos_token": False, "add_eos_token": False}
    tokenizer = _load(tmp_path, core, config)
    bos, eos = (token_id(core, name) for name in (BOS, EOS))
    plain = tokenizer.encode("ab", special=False)
    assert tokenizer.encode("ab") == [bos, *plain, eos]
    assert len(plain) == 2


def test_the_end_of_a_text_has_an_id(tmp_path: Path):
    tokenizer = _load(tmp_path, byte_level(), {"eos_token": EOS})
    assert tokenizer.end_ids == (token_id(tokenizer.core, EOS),)
    assert _load(tmp_path, byte_level(), {}).end_ids == ()


def test_truncation_in_the_file_is_ignored(tmp_path: Path):
    core = byte_level()
    core.enable_truncation(4)
    assert len(_load(tmp_path, core).encode("longer than four")) == 16
