"""generation_config.json: what it asks for, what is not applied, what is refused."""

import json
from typing import Any

import pytest

from sala_compile.runtime.errors import ConfigError
from sala_compile.runtime.generation.generation_config import (
    GenerationDefaults,
    parse_generation_config,
)


def _parsed(fields: Any) -> GenerationDefaults:
    return parse_generation_config(json.dumps(fields).encode(), "generation_config.json")


def test_without_sampling_the_likeliest_token_is_taken():
    assert _parsed({}).sampling == {"temperature": 0.0}
    fields = {"do_sample": False, "temperature": 0.7, "top_p": 0.8, "top_k": None}
    assert _parsed(fields).sampling == {"temperature": 0.0, "top_p": 0.8}


def test_with_sampling_what_is_not_said_is_as_in_hugging_face():
    assert _parsed({"do_sample": True}).sampling == {"temperature": 1.0, "top_k": 50}
    fields = {"do_sample": True, "temperature": 0.8, "top_k": 0, "min_p": 0.1, "top_p": 0.9}
    found = _parsed(fields | {"repetition_penalty": 1.1}).sampling
    assert found == {
        **{"temperature": 0.8, "top_k": 0, "min_p": 0.1, "top_p": 0.9},
        "repetition_penalty": 1.1,
    }


def test_lengths_stop_strings_and_end_tokens():
    found = _parsed({"max_new_tokens": 99, "stop_strings": "x", "eos_token_id": 2})
    assert (found.max_new_tokens, found.stop, found.eos) == (99, ("x",), (2,))
    assert _parsed({"eos_token_id": [2, 5], "stop_strings": ["x", "y"]}).eos == (2, 5)
    assert _parsed({"eos_token_id": []}).eos == ()
    assert _parsed({}).eos is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("num_beams", 4), ("suppress_tokens", [1]), ("bad_words_ids", [[1]])),
        *(("no_repeat_ngram_size", 3), ("forced_bos_token_id", 1), ("max_length", 4096)),
        *(("typical_p", 0.5), ("guidance_scale", 1.5), ("min_new_tokens", 5), ("max_time", 3)),
        *(
            ("cache_implementation", "quantized"),
            ("never_heard_of", 0),
            ("sequence_bias", {"1": 2}),
        ),
    ],
)
def test_what_is_not_applied_is_told(name: str, value: Any):
    (note,) = _parsed({name: value}).notes
    assert name in note


def test_what_changes_nothing_is_not_told():
    fields = {
        **{"num_beams": 1, "suppress_tokens": [], "bad_words_ids": None, "typical_p": 1.0},
        **{"bos_token_id": 1, "pad_token_id": 2, "transformers_version": "5.23.0"},
        **{"use_cache": True, "_from_model_config": True, "max_length": 20},
    }
    assert _parsed(fields).notes == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("do_sample", "yes"), ("do_sample", 1), ("temperature", "hot"), ("temperature", -1)),
        *(("temperature", True), ("temperature", [1]), ("top_p", 0), ("top_p", 1.5), ("top_k", -1)),
        *(("top_k", 2.5), ("min_p", 2), ("min_p", {}), ("repetition_penalty", 0)),
        *(("max_new_tokens", 0), ("max_new_tokens", "many"), ("max_new_tokens", 1.5)),
        *(("stop_strings", 5), ("stop_strings", [""]), ("stop_strings", [5]), ("stop_strings", {})),
        *(("eos_token_id", "</s>"), ("eos_token_id", -1), ("eos_token_id", [True])),
        ("eos_token_id", [[2]]),
    ],
)
@pytest.mark.parametrize("samples", [True, False])
def test_what_has_no_meaning_is_refused_by_name(name: str, value: Any, samples: bool):
    with pytest.raises(ConfigError) as caught:
        _parsed({"do_sample": samples} | {name: value})
    assert f"generation_config.json: {name}" in str(caught.value)
    assert "expected" in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"[]", b"5", b"{", b"\xff", b'{"top_p": NaN}', b"[" * 9999])
def test_what_is_no_object_is_refused(data: bytes):
    with pytest.raises(ConfigError, match=r"generation_config\.json"):
        parse_generation_config(data, "generation_config.json")
