"""What a checkpoint says about texts: the tokens that end an answer, and a tokenizer that loads."""

import json
from pathlib import Path
from typing import Any

import pytest

import runtime
from codegen.texts import GENERATION_FILE, check_tokenizer, end_tokens, generation_notes
from runtime.artifact import open_artifact
from runtime.errors import CheckpointError, ConfigError
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
    with runtime.load(compiled.artifact, context=128) as model:
        for prompt in ([1, 5, 9], [7, 11], [130, 3, 40, 8]):
            whole = model.generate(prompt, 40, temperature=2.0, ignore_eos=True)
            first = next(place for place, token in enumerate(whole) if token % 2 == 0)
            answers.append(model.generate(prompt, 40, temperature=2.0))
            assert answers[-1] == whole[: first + 1]
    assert max(map(len, answers)) > 1


def test_a_tokenizer_that_loads_passes(tmp_path: Path):
    check_tokenizer(tmp_path)
    byte_level().save(str(tmp_path / "tokenizer.json"))
    check_tokenizer(tmp_path)


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
        check_tokenizer(tmp_path)
    error = caught.value
    assert error.found
    assert error.where == str(tmp_path / name)
    assert error.expected is not None
    assert "remove" in str(error.fix)
