"""The text of an answer: stops, characters, tokens, ends."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sala_compile.runtime.errors import DeviceError
from sala_compile.runtime.serving.answers.answer_delta import AnswerDelta, FinishReason
from sala_compile.runtime.serving.answers.answer_text import AnswerForm, AnswerText
from sala_compile.runtime.serving.answers.prompt_tokens import PromptTokens
from sala_compile.runtime.serving.work.event import (
    End,
    Ended,
    Event,
    Likelihood,
    PromptRead,
    Started,
    TokenChosen,
)
from sala_compile.runtime.text.tokenizer import Tokenizer
from tests.support.tokenizers import EOS, KINDS, byte_level, token_id, with_plain_tokens

TOKENIZERS = {name: Tokenizer(with_plain_tokens(make()), {}) for name, make in KINDS.items()}
BYTES = TOKENIZERS["byte level"]
TEXTS = st.text(st.sampled_from("ab cd.\u00e9\u4f60\U0001f600\n<>"), max_size=24)


def chosen(ids: Sequence[int], *, logprobs: bool = True) -> list[Event]:
    likelihood = Likelihood(-0.5, ((0, -0.5), (1, -1.0))) if logprobs else None
    return [TokenChosen(token, likelihood) for token in ids]


def deltas(answer: AnswerText, events: Sequence[Event], cuts: Sequence[int]) -> list[AnswerDelta]:
    """What `answer` gives for `events` in batches of the sizes `cuts`, then one by one."""
    found, place = [], 0
    for size in [*cuts, *[1] * len(events)]:
        found.append(answer.feed(events[place : place + size]))
        place += size
    return [each for each in found if each]


def joined(found: Sequence[AnswerDelta]) -> str:
    return "".join(each.content for each in found)


def check_tokens(found: Sequence[AnswerDelta], text: str) -> None:
    """The tokens are those of the text, in their order and at their places."""
    tokens = [token for each in found for token in each.tokens]
    assert "".join(token.text for token in tokens) == text
    if "\ufffd" not in text:
        assert b"".join(token.data for token in tokens) == text.encode()
    place = 0
    for token in tokens:
        assert token.offset == place
        place += len(token.text)


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(deadline=None)
@given(text=TEXTS, cuts=st.lists(st.integers(0, 4), max_size=10), data=st.data())
def test_the_text_is_that_of_all_tokens(name: str, text: str, cuts: list[int], data: st.DataObject):
    tokenizer = TOKENIZERS[name]
    prompt = tokenizer.encode("a b", special=False)
    ids = tokenizer.encode_continuation(text, prompt)
    if data.draw(st.booleans()):
        ids = data.draw(st.lists(st.integers(0, tokenizer.largest_id), max_size=12))
    decoder = tokenizer.stream(prompt)
    whole = "".join([decoder.push(token) for token in ids]) + decoder.flush()
    answer = AnswerText(tokenizer, prompt)
    found = deltas(answer, [*chosen(ids), Ended(End.LENGTH)], cuts)
    assert joined(found) == whole
    assert [each.finish for each in found if each.finish] == [FinishReason.LENGTH]
    assert found[-1].finish is FinishReason.LENGTH
    assert answer.completion_tokens == len(ids)
    assert sum(len(each.tokens) for each in found) == len(ids)
    check_tokens(found, whole)


@pytest.mark.parametrize("name", ["byte level", "llama", "unigram"])
@settings(deadline=None)
@given(
    text=TEXTS,
    stops=st.lists(st.text(st.sampled_from("ab \u4f60\n<"), min_size=1, max_size=4), max_size=3),
    cuts=st.lists(st.integers(0, 5), max_size=10),
    shows=st.booleans(),
)
def test_a_stop_string_never_leaks(
    name: str, text: str, stops: list[str], cuts: list[int], shows: bool
):
    tokenizer = TOKENIZERS[name]
    prompt = tokenizer.encode("a b", special=False)
    ids = tokenizer.encode_continuation(text, prompt)
    decoder = tokenizer.stream(prompt)
    whole = "".join([decoder.push(token) for token in ids]) + decoder.flush()
    ends = [(whole.find(stop) + len(stop), whole.find(stop)) for stop in stops if stop in whole]
    end, begin = min(ends, default=(len(whole), len(whole)))
    answer = AnswerText(tokenizer, prompt, stop=stops, shows_stop=shows)
    found = deltas(answer, [*chosen(ids), Ended(End.LENGTH)], cuts)
    assert joined(found) == whole[: end if shows else begin]
    assert found[-1].finish is (FinishReason.STOP if ends else FinishReason.LENGTH)
    assert answer.stopped_by == (whole[begin:end] if ends else None)
    assert all(each.content or each.tokens or each.finish for each in found)
    check_tokens(found, joined(found))
    if answer.stopped:  # not only at the end
        upto = answer.completion_tokens
        decoder = tokenizer.stream(prompt)
        assert len("".join(decoder.push(token) for token in ids[:upto])) >= end


def test_of_two_stops_in_one_token_the_earlier_one_wins():
    tokenizer = Tokenizer(byte_level([("a", "b"), ("c", "d"), ("ab", "cd")]), {})
    ids = tokenizer.encode("abcd")
    assert len(ids) == 1
    answer = AnswerText(tokenizer, stop=["c", "b"])
    delta = answer.feed(chosen(ids))
    assert (delta.content, delta.finish, answer.stopped_by) == ("a", FinishReason.STOP, "b")
    assert [(token.text, token.data) for token in delta.tokens] == [("a", b"a")]
    assert answer.stopped


def test_nothing_after_a_stop_has_an_effect():
    answer = AnswerText(BYTES, stop=["b"])
    first = answer.feed(chosen(BYTES.encode("ab")))
    assert (first.content, first.finish) == ("a", FinishReason.STOP)
    assert not answer.feed([*chosen(BYTES.encode("cd")), Ended(End.CANCELLED)])
    assert answer.completion_tokens == len(BYTES.encode("ab"))


@pytest.mark.parametrize(
    ("end", "finish"),
    [
        (End.END_TOKEN, FinishReason.STOP),
        (End.CONSTRAINT, FinishReason.STOP),
        (End.CANCELLED, FinishReason.STOP),
        (End.LENGTH, FinishReason.LENGTH),
        (End.CONTEXT, FinishReason.LENGTH),
        (End.DEADLINE, FinishReason.LENGTH),
        (End.SHUTDOWN, FinishReason.LENGTH),
    ],
)
def test_every_end_has_its_reason(end: End, finish: FinishReason):
    answer = AnswerText(BYTES)
    assert answer.feed([*chosen(BYTES.encode("d")), Ended(end)]).finish is finish
    assert answer.end is end
    assert not answer.feed([Ended(end)])


def test_a_failure_is_an_error_and_no_finish():
    answer, error = AnswerText(BYTES), DeviceError("the device is gone")
    delta = answer.feed([*chosen(BYTES.encode("d")), Ended(End.FAILED, error)])
    assert (delta.content, delta.finish, delta.error) == ("d", None, error)


def test_held_text_is_given_at_an_end_without_a_stop():
    answer = AnswerText(BYTES, stop=["abcd!"])
    assert not answer.feed(chosen(BYTES.encode("abcd"), logprobs=False))
    assert answer.feed([Ended(End.LENGTH)]).content == "abcd"


def test_an_end_token_has_no_text_but_an_entry():
    end = token_id(BYTES.core, EOS)
    answer = AnswerText(BYTES, ends=frozenset({end}))
    delta = answer.feed([*chosen([*BYTES.encode("d"), end]), Ended(End.END_TOKEN)])
    assert delta.content == "d"
    assert [(token.id, token.text) for token in delta.tokens][1:] == [(end, "")]
    assert (answer.completion_tokens, answer.stopped_by) == (2, end)


def test_an_end_token_that_has_text_is_left_out_only_if_it_ends():
    end = BYTES.encode("d")[0]
    answer = AnswerText(BYTES, ends=frozenset({end}))
    first = answer.feed(chosen(BYTES.encode("dad")))
    assert first.content == "da"
    assert answer.feed([Ended(End.END_TOKEN)]).content == ""
    answer = AnswerText(BYTES, ends=frozenset({end}))
    assert answer.feed([*chosen(BYTES.encode("dad")), Ended(End.LENGTH)]).content == "dad"


def test_marks_are_text_and_end_a_broken_character():
    mark = token_id(BYTES.core, "<|end|>")
    plain = AnswerText(BYTES)
    half = BYTES.encode("\u4f60\u4f60")[:1]
    assert plain.feed([*chosen([mark, *BYTES.encode("a")]), Ended(End.LENGTH)]).content == "a"
    shown = AnswerText(BYTES, form=AnswerForm(marks={mark: "<|end|>"}))
    ids = [*BYTES.encode("a"), *BYTES.encode("\u00e9")[:1], mark, *BYTES.encode("b")]
    found = deltas(shown, [*chosen(ids), Ended(End.LENGTH)], [])
    assert joined(found) == "a\ufffd<|end|>b"
    check_tokens(found, joined(found))
    assert half


def test_what_a_job_used_is_counted():
    answer = AnswerText(BYTES)
    answer.feed([Started(7, 0.0), *chosen(BYTES.encode("dd"))])
    assert (answer.cached_tokens, answer.completion_tokens) == (7, 2)


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(deadline=None)
@given(text=TEXTS, cuts=st.lists(st.integers(1, 5), max_size=5))
def test_a_prompt_has_an_entry_for_each_token(name: str, text: str, cuts: list[int]):
    tokenizer = TOKENIZERS[name]
    ids = [token_id(tokenizer.core, "<s>"), *tokenizer.encode(text, special=False)]
    echo, found, place = PromptTokens(tokenizer, ids), [], 0
    for size in cuts:
        if place + size >= len(ids):
            break
        known = [Likelihood(-float(i)) if i else None for i in range(place, place + size)]
        found += echo.feed(PromptRead(place + size, known))
        place += size
    found += echo.finish()
    assert [token.id for token in found] == ids
    assert "".join(token.text for token in found) == echo.text == tokenizer.decode(ids)
    known = [None if i == 0 or i >= place else -float(i) for i in range(len(ids))]
    assert [token.logprob for token in found] == known
