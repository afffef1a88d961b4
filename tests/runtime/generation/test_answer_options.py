"""Options of an answer: the caller's before the checkpoint's, and which tokens end it."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sala_compile
from sala_compile.runtime.artifact import ArtifactWriter, Manifest, write_artifact
from sala_compile.runtime.errors import ArtifactError, RequestError
from sala_compile.runtime.generation.sampling import SamplingOptions
from sala_compile.runtime.model import Model
from tests.support.handmade import fill
from tests.support.tokenizers import byte_level

IDS = [3, 5, 8]
Made = Callable[..., Model]


@pytest.fixture
def made(tmp_path: Path):
    """Load the hand-made model with a generation_config.json, and a tokenizer if wanted."""
    models: list[Model] = []

    def make(config: Any, *, eos: str | None = None) -> Model:
        def write(writer: ArtifactWriter) -> Manifest:
            writer.write_bytes("generation_config.json", json.dumps(config).encode())
            if eos is not None:
                writer.write_bytes("tokenizer.json", byte_level().to_str().encode())
                document = json.dumps({"eos_token": eos}).encode()
                writer.write_bytes("tokenizer_config.json", document)
            return fill(writer)

        path = tmp_path / f"{len(models)}.sala"
        write_artifact(path, write)
        models.append(sala_compile.load(path, threads=1))
        return models[-1]

    yield make
    for model in models:
        model.close()


def test_the_file_holds_unless_the_caller_says_else(made: Made):
    model = made({"do_sample": True, "top_p": 0.9, "max_new_tokens": 7, "stop_strings": ["x"]})
    found = model.generation_options()
    assert found.sampling == SamplingOptions(temperature=1.0, top_p=0.9, top_k=50)
    assert (found.max_new_tokens, found.stop) == (7, ("x",))
    own = model.generation_options(3, temperature=0.5, top_k=0, stop=[])
    assert own.sampling == SamplingOptions(temperature=0.5, top_p=0.9)
    assert (own.max_new_tokens, own.stop) == (3, ())
    none = model.generation_options(defaults="none")
    assert none.sampling == SamplingOptions()
    assert (none.max_new_tokens, none.stop) == (256, ())


def test_answers_follow_the_file(made: Made):
    drawn = made({"do_sample": True, "temperature": 9.0, "max_new_tokens": 12})
    plain = made({})
    greedy = plain.generate(IDS, 12, ignore_eos=True)
    assert drawn.generate(IDS, ignore_eos=True) != greedy
    assert drawn.generate(IDS, ignore_eos=True, temperature=0.0) == greedy
    assert drawn.generate(IDS, 12, ignore_eos=True, defaults="none") == greedy
    seeded = plain.generate(IDS, 12, ignore_eos=True, temperature=9.0, top_k=50)
    assert drawn.generate(IDS, ignore_eos=True) == seeded


def test_end_tokens_are_those_of_the_chosen_file(made: Made):
    own = byte_level().token_to_id("</s>")
    model = made({}, eos="</s>")
    told = model.artifact.manifest.model.eos_token_ids
    assert told
    assert own not in told
    assert model.generation_options().eos == told
    assert model.generation_options(end_tokens="tokenizer").eos == (own,)
    assert model.generation_options(end_tokens="both").eos == (*told, own)
    assert made({}).generation_options(end_tokens="tokenizer").eos == ()


def test_what_is_not_applied_is_a_warning_once(made: Made):
    model = made({"num_beams": 4, "strange": 1})
    assert [note.split()[1] for note in model.generation_defaults.notes] == ["num_beams", "the"]
    model = made({"num_beams": 4})
    with pytest.warns(UserWarning, match="num_beams 4 is not applied"):
        model.generate(IDS, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.generate(IDS, 1)


@pytest.mark.parametrize(
    "options",
    [
        *({"defaults": "x"}, {"defaults": None}, {"defaults": 5}, {"end_tokens": "x"}),
        *({"end_tokens": []}, {"max_new_tokens": "x"}, {"heat": 1}, {"ignore_eos": 2}),
    ],
    ids=str,
)
def test_wrong_choices_are_refused_by_name(made: Made, options: dict[str, Any]):
    with pytest.raises(RequestError, match=next(iter(options))):
        made({}).generation_options(**options)


def test_a_damaged_file_is_named_when_it_is_needed(made: Made):
    model = made({"top_p": "much"})
    with pytest.raises(ArtifactError, match="top_p is 'much'"):
        model.generate(IDS, 1)
    assert model.logits(IDS).shape == (3, 29)
