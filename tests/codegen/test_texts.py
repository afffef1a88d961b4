"""What a checkpoint says about texts: the tokens that end an answer, and a tokenizer that loads."""

import json
from pathlib import Path
from typing import Any

import pytest

import sala_compile
from sala_compile.codegen.compiler import compile_model
from sala_compile.codegen.options import CompileOptions
from sala_compile.codegen.progress import Silent
from sala_compile.codegen.texts import (
    GENERATION_FILE,
    check_tokenizer,
    end_tokens,
    generation_notes,
)
from sala_compile.runtime.artifact import open_artifact
from sala_compile.runtime.errors import CheckpointError, ConfigError
from tests.codegen.conftest import SMALL
from tests.support.checkpoints import write_checkpoint
from tests.support.tokenizers import byte_level

CONFIGURED = (2, 3)


@pytest.mark.parametrize(
    ("fields", "ends"),
    [
        ({"eos_token_id": [2, 73440]}, (2, 73440)),
        ({"eos_token_id": 7}, (7,)),
        ({"eos_token_id": 0}, (0,)),
        ({"eos_token_id": []}, ()),
        ({"eos_token_id": None}, CONFIGURED),
        ({"do_sample": True}, CONFIGURED),
        (None, CONFIGURED),
    ],
)
def test_the_generation_configuration_overrules(tmp_path: Path, fields: Any, ends: tuple[int, ...]):
    if fields is not None:
        (tmp_path / GENERATION_FILE).write_text(json.dumps(fields))
    assert end_tokens(tmp_path, CONFIGURED) == ends


@pytest.mark.parametrize("text", ['{"eos_token_id": "2"}', '{"eos_token_id": [true]}', "[2]", "{"])
def test_what_is_no_token_is_refused(tmp_path: Path, text: str):
    (tmp_path / GENERATION_FILE).write_text(text)
    with pytest.raises(ConfigError, match=GENERATION_FILE):
        end_tokens(tmp_path, CONFIGURED)


def test_what_no_answer_gets_is_noted(tmp_path: Path):
    assert generation_notes(tmp_path) == ()
    (tmp_path / GENERATION_FILE).write_text('{"num_beams": 4, "do_sample": true}')
    (note,) = generation_notes(tmp_path)
    assert "num_beams 4" in note


def test_its_tokens_end_an_answer(compiled):
    """Those of config.json are 2 and 3, those of the generation configuration the even ones."""
    ends = open_artifact(compiled.artifact).manifest.model.eos_token_ids
    assert ends == tuple(range(0, 131, 2))
    answers = []
    with sala_compile.load(compiled.artifact, context=128) as model:
        for prompt in ([1, 5, 9], [7, 11], [130, 3, 40, 8]):
            whole = model.generate(prompt, 40, temperature=2.0, ignore_eos=True)
            first = next(place for place, token in enumerate(whole) if token % 2 == 0)
            answers.append(model.generate(prompt, 40, temperature=2.0))
            assert answers[-1] == whole[: first + 1]
    assert max(map(len, answers)) > 1


def test_a_tokenizer_that_loads_passes(tmp_path: Path):
    check_tokenizer(tmp_path, 300)
    byte_level().save(str(tmp_path / "tokenizer.json"))
    check_tokenizer(tmp_path, 300)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tokenizer.json", "{"),
        ("tokenizer.json", '{"model": {}}'),
        ("tokenizer_config.json", "{"),
        ("tokenizer_config.json", "[]"),
    ],
)
def test_a_damaged_tokenizer_is_refused_with_what_to_do(tmp_path: Path, name: str, text: str):
    byte_level().save(str(tmp_path / "tokenizer.json"))
    (tmp_path / name).write_text(text)
    with pytest.raises(CheckpointError) as caught:
        check_tokenizer(tmp_path, 300)
    error = caught.value
    assert error.found
    assert error.where == str(tmp_path / name)
    assert error.expected is not None
    assert "remove" in str(error.fix)


def test_users_are_told_of_a_tokenizer_that_is_not_read(tmp_path: Path):
    assert check_tokenizer(tmp_path, 10) == []
    (tmp_path / "tokenizer.model").write_bytes(b"sentencepiece")
    (note,) = check_tokenizer(tmp_path, 10)
    assert note.startswith("tokenizer.model is not read, and there is no tokenizer.json")
    byte_level().save(str(tmp_path / "tokenizer.json"))
    assert check_tokenizer(tmp_path, 258) == []


def test_users_are_told_of_tokens_without_rows(tmp_path: Path):
    byte_level().save(str(tmp_path / "tokenizer.json"))
    (note,) = check_tokenizer(tmp_path, 257)
    assert note.startswith("the tokenizer has ids up to 257, the model rows for 257 tokens")
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "<|end|>"}')
    (note,) = check_tokenizer(tmp_path, 258)
    assert note.startswith("the tokenizer has ids up to 258, the model rows for 258 tokens")
    assert check_tokenizer(tmp_path, 259) == []


def test_a_class_that_only_the_model_configuration_names_is_refused(tmp_path: Path):
    byte_level().save(str(tmp_path / "tokenizer.json"))
    for name in ("PreTrainedTokenizerFast", None, "Anything"):
        assert check_tokenizer(tmp_path, 258, name) == []
    for name in ("LlamaTokenizer", "T5TokenizerFast", 3):
        with pytest.raises(CheckpointError, match=r"only config\.json names"):
            check_tokenizer(tmp_path, 258, name)
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}')
    assert len(check_tokenizer(tmp_path, 258, "LlamaTokenizer")) == 1  # <|endoftext|> is new


def test_the_notes_reach_the_summary(tmp_path: Path):
    checkpoint = write_checkpoint(tmp_path / "checkpoint", SMALL)
    (checkpoint / "tokenizer.model").write_bytes(b"sentencepiece")
    options = CompileOptions(checkpoint=checkpoint, output=None, context=64, dry_run=True)
    notes = compile_model(options, Silent()).summary["notes"]
    assert any(note.startswith("tokenizer.model is not read") for note in notes)
