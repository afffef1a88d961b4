"""Answers that follow a schema, an expression or a grammar, with any tokenizer."""

import json
import random
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.serving.structure.structure import Structure
from sala_compile.runtime.serving.structure.structures import Structures
from sala_compile.runtime.serving.work.constraint import Constraint
from sala_compile.runtime.text.tokenizer import Tokenizer
from tests.support.tokenizers import EOS, KINDS, token_id, with_plain_tokens

BEYOND = 37
"""Ids of the model that are no tokens."""


@pytest.fixture(scope="module", params=["byte level", "llama", "metaspace first", "unigram"])
def structures(request: pytest.FixtureRequest) -> Iterator[Structures]:
    tokenizer = Tokenizer(with_plain_tokens(KINDS[request.param]()), {})
    end = token_id(tokenizer.core, EOS)
    made = Structures(tokenizer, tokenizer.vocabulary + BEYOND, {end})
    yield made
    made.close()


@pytest.fixture(scope="module")
def bytes_only() -> Iterator[Structures]:
    tokenizer = Tokenizer(KINDS["byte level"](), {})
    made = Structures(tokenizer, tokenizer.vocabulary, {token_id(tokenizer.core, EOS)})
    yield made
    made.close()


def ids(constraint: Constraint, vocabulary: int) -> list[int]:
    """The allowed ids."""
    mask = constraint.allowed()
    assert mask is not None
    assert mask.shape == (-(-vocabulary // 32),)
    found = np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little"))
    assert found.max() < vocabulary
    return [int(token) for token in found]


def sample(structures: Structures, structure: Structure, seed: int, most: int = 2000) -> str | None:
    """An answer of random allowed tokens, ends preferred; None if it does not end."""
    tokens, draw = structures.tokens, random.Random(seed)
    constraint, answer = structures.compile(structure).constraint(), []
    while len(answer) < most:
        allowed = ids(constraint, tokens.vocabulary)
        ends = [token for token in allowed if token in tokens.ends]
        if ends and draw.random() < 0.5:
            constraint.accept(ends[0])
            assert constraint.complete()
            break
        closing = [token for token in allowed if tokens.tokens[token] in (b'"', b"}", b"]")]
        choices = closing if closing and draw.random() < 0.4 else allowed
        answer.append(draw.choice([token for token in choices if token not in ends] or ends))
        constraint.accept(answer[-1])
        if constraint.complete():
            break
    else:
        return None
    before = tokens.tokenizer.encode("a", special=False)
    decoder = tokens.tokenizer.stream(before)
    return "".join(decoder.push(token) for token in answer) + decoder.flush()


NAMES = st.sampled_from(["a", "b", "key", "\u00e9", 'q"', "$x"])
LEAVES = st.one_of(
    st.just({"type": "integer", "minimum": 0, "maximum": 500}),
    st.just({"type": "number", "exclusiveMinimum": -2, "maximum": 7.5}),
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.builds(lambda n: {"type": "string", "maxLength": n}, st.integers(0, 8)),
    st.just({"type": "string", "pattern": "^[a-f]{1,3}(\u00e9|\u4f60)?$"}),
    st.just({"type": "string", "format": "date"}),
    st.just({"enum": ["red", 1, None, {"x": [True]}]}),
    st.just({"const": "\U0001f600"}),
    st.just({"type": ["integer", "null"], "multipleOf": 5, "maximum": 100, "minimum": 0}),
)


def _object(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    kept = [name for name in required if name in properties]
    return {
        "type": "object",
        "properties": properties,
        "required": sorted(set(kept)),
        "additionalProperties": False,
    }


SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(_object, st.dictionaries(NAMES, inner, max_size=3), st.lists(NAMES)),
        st.builds(lambda each: {"type": "array", "items": each, "maxItems": 3}, inner),
        st.builds(lambda one, other: {"anyOf": [one, other]}, inner, inner),
    ),
    max_leaves=5,
)


@settings(deadline=None, max_examples=60)
@given(schema=SCHEMAS, seed=st.integers(0, 1000))
def test_answers_are_valid_by_their_schema(structures: Structures, schema: Any, seed: int):
    text = sample(structures, Structure.schema(schema), seed)
    if text is not None:
        jsonschema.validate(json.loads(text), schema)


def test_answers_are_json_objects(structures: Structures):
    for seed in range(5):
        text = sample(structures, Structure.json_object(), seed)
        assert text is None or isinstance(json.loads(text), dict)


@pytest.mark.parametrize(
    "pattern", ["[0-9]{3}-[a-z]+x", "(\u4f60|\u00e9)+ok?", " ?yes|no", "\\d\\.\\d"]
)
def test_answers_match_their_expression(structures: Structures, pattern: str):
    texts = [sample(structures, Structure.regex(pattern), seed) for seed in range(8)]
    assert all(text is None or re.fullmatch(pattern, text) for text in texts)
    assert any(texts)


def test_answers_are_of_their_choice(structures: Structures):
    choice = ["yes", 'no "sir"', "\u4f60 \\ you"]
    found = {sample(structures, Structure.choice(choice), seed) for seed in range(20)}
    assert found == set(choice)


def test_answers_are_of_their_grammar(structures: Structures):
    grammar = 'start: pair ("," pair)*\npair: NAME "=" /[0-9]/\nNAME: /[a-d]{1,3}/'
    texts = [sample(structures, Structure.grammar(grammar), seed) for seed in range(5)]
    pair = "[a-d]{1,3}=[0-9]"
    assert all(text is not None and re.fullmatch(f"{pair}(,{pair})*", text) for text in texts)


def test_an_end_is_allowed_where_the_answer_may_end(structures: Structures):
    tokens = structures.tokens
    (end,) = tokens.ends
    constraint = structures.compile(Structure.regex("x+")).constraint()
    assert end not in ids(constraint, tokens.vocabulary)
    (x,) = ids(constraint, tokens.vocabulary)[:1]
    constraint.accept(x)
    assert end in ids(constraint, tokens.vocabulary)
    assert not constraint.complete()
    constraint.accept(end)
    assert constraint.complete()


def test_a_finished_structure_is_complete_without_an_end(structures: Structures):
    constraint = structures.compile(Structure.choice(["x"])).constraint()
    constraint.accept(ids(constraint, structures.tokens.vocabulary)[0])
    assert constraint.complete()


def test_choices_of_one_request_do_not_share_their_place(structures: Structures):
    made = structures.compile(Structure.regex("x{2}"))
    one, other = made.constraint(), made.constraint()
    x = ids(one, structures.tokens.vocabulary)[0]
    one.accept(x)
    one.accept(x)
    assert (one.complete(), other.complete()) == (True, False)
    other.accept(x)
    assert not other.complete()


def test_a_token_that_is_not_allowed_is_refused(bytes_only: Structures):
    constraint = bytes_only.compile(Structure.regex("x")).constraint()
    with pytest.raises(RequestError):
        constraint.accept(bytes_only.tokens.tokenizer.encode("y")[0])


def test_a_model_without_an_end_token_ends_where_its_grammar_does():
    tokenizer = Tokenizer(KINDS["byte level"](), {})
    made = Structures(tokenizer, tokenizer.vocabulary, set())
    assert sample(made, Structure.choice(["ab", "c"]), 1) in ("ab", "c")
    made.close()


def test_a_tokenizer_that_changes_spaces_is_refused():
    config = {"clean_up_tokenization_spaces": True}
    made = Structures(Tokenizer(KINDS["word piece"](), config), 300, set())
    made.start()
    with pytest.raises(RequestError, match="removes spaces"):
        made.compile(Structure.json_object())
    made.close()


def test_compiled_structures_are_kept(bytes_only: Structures):
    made = bytes_only.compile(Structure.regex("kept"))
    assert bytes_only.compile(Structure.regex("kept")) is made
