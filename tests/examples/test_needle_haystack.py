"""Generated haystacks: what their tokens are, where the needle lies, and that seeds decide all."""

import numpy as np
import pytest

from examples.needle import words
from examples.needle.haystack import END, draw_case, draw_needles, fill, token_ids
from examples.needle.lessons import Stage, draw_batch
from examples.needle.measure import draw_cases
from examples.needle.tokenizer import BOS, EOS, build_tokenizer, vocabulary, write_tokenizer
from sala_compile.runtime.text.tokenizer import Tokenizer

STAGE = Stage(length=128, batch=5, steps=1, needles=5, questions=4, rate=1e-3, copying=0.4)


@pytest.mark.parametrize("length", [97, 600])
@pytest.mark.parametrize("depth", [0.0, 0.37, 1.0])
def test_case_is_its_text(tmp_path, length, depth):
    case = draw_case(3, 5, length=length, depth=depth)
    write_tokenizer(tmp_path)
    tokenizer = Tokenizer.from_files(tmp_path)
    assert len(case.token_ids) == length
    assert tuple(tokenizer.encode(case.text)) == case.token_ids
    needle = tokenizer.decode(case.token_ids[case.needle_start : case.needle_stop])
    assert needle.endswith(f" is {case.answer}.")
    assert case.text.endswith(needle[: needle.index(" is ") + 3])
    value = slice(case.value_start, case.value_start + len(case.answer_ids))
    assert case.token_ids[value] == case.answer_ids
    assert abs(case.depth - depth) < 0.35
    assert needle not in case.text.replace(needle, "", 1)


def test_every_piece_is_one_token():
    tokenizer = build_tokenizer()
    generator = np.random.default_rng(0)
    sentences = [
        *fill(generator, 2000),
        *(x.sentence for x in draw_needles(generator, 40, numbers=0.5)),
    ]
    for sentence in sentences:
        ids = tokenizer.encode("".join(sentence), add_special_tokens=False).ids
        assert ids == token_ids(sentence)
    assert token_ids([END]) == [EOS[0]]
    assert len(set(vocabulary().values())) == len(vocabulary())


def test_other_texts_survive_the_tokenizer():
    tokenizer = build_tokenizer()
    text = "Zebras? 7 or 1234567 — naïve\n\n\tquestions; 'x'  y."
    ids = tokenizer.encode(text).ids
    assert ids[0] == BOS
    assert tokenizer.decode(ids) == text


def test_cases_depend_on_every_argument_alone():
    def draw(**changes):
        values = {"seed": 1, "index": 2, "length": 200, "depth": 0.5} | changes
        return draw_case(values.pop("seed"), values.pop("index"), **values)

    assert draw() == draw()
    changes = ({"seed": 2}, {"index": 3}, {"length": 201}, {"depth": 0.1}, {"decoys": 1})
    assert len({draw(**change).token_ids for change in changes} | {draw().token_ids}) == 6


def test_cases_spread_over_the_text():
    depths = [case.depth for case in draw_cases(0, 500, 20)]
    assert np.histogram(depths, 5, (0, 1))[0].min() >= 2


def test_needles_have_one_value_each():
    needles = draw_needles(np.random.default_rng(0), 60, numbers=0.9)
    assert len({(needle.kind, needle.animal) for needle in needles}) == 60
    assert {needle.animal for needle in needles} <= set(words.ANIMALS)


def test_lessons_are_reproducible_and_weigh_answers():
    batch, again = draw_batch(0, 1, 7, STAGE), draw_batch(0, 1, 7, STAGE)
    np.testing.assert_array_equal(batch.tokens, again.tokens)
    assert batch.tokens.shape == (5, 129)
    assert batch.weights.shape == batch.is_value.shape == (5, 128)
    assert (batch.weights[batch.is_value] == 1).all()
    assert (draw_batch(0, 1, 8, STAGE).tokens != batch.tokens).any()
    assert (draw_batch(1, 1, 7, STAGE).tokens != batch.tokens).any()


def test_answers_stand_in_the_text_before():
    batch = draw_batch(0, 0, 0, Stage(length=128, batch=4, steps=1, needles=4, questions=4, rate=0))
    for tokens, is_value in zip(batch.tokens, batch.is_value, strict=True):
        values = tokens[1:][is_value]
        begin = int(np.flatnonzero(is_value)[0])
        assert set(values.tolist()) <= set(tokens[:begin].tolist())
