"""Spaces before punctuation, taken out of a text in a stream as out of the whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sala_compile.runtime.text.tokenizer import Tokenizer
from sala_compile.runtime.text.tokenizers.space_cleanup import SpaceCleaner, clean_spaces
from tests.support.tokenizers import KINDS

_PIECES = st.lists(
    st.sampled_from([*" .?!,'abnt", "n't", " 's", " 've", " ' ", "  ", "' ", "word"]), max_size=12
)


def test_the_rules():
    text = "do n't stop , it 's we 're I 'm they 've ( ' x ' ) . Yes ? No !"
    assert clean_spaces(text) == "don't stop, it's we're I'm they've ('x'). Yes? No!"


@given(before=_PIECES, pieces=_PIECES)
def test_a_stream_is_cleaned_as_the_whole(before: list[str], pieces: list[str]):
    cleaner = SpaceCleaner()
    for piece in before:
        cleaner.push(piece)
    cleaner.begin_answer()
    text = "".join([*map(cleaner.push, pieces), cleaner.flush()])
    known, whole = clean_spaces("".join(before)), clean_spaces("".join(before + pieces))
    if whole.startswith(known):
        assert text == whole[len(known) :]
    if not before:
        assert text == whole


def test_only_a_word_waits():
    cleaner = SpaceCleaner()
    shown = [cleaner.push(piece) for piece in ("one", " two", " three", " .", " four")]
    assert shown == ["", "one", " two", " three", "."]


@pytest.mark.parametrize(
    ("name", "forced", "cleaned"),
    [
        *(("word piece", False, True), ("unigram", False, True), ("llama", False, False)),
        *(("llama", True, True), ("byte level", True, True)),
    ],
)
def test_never_for_bpe_unless_forced(name: str, forced: bool, cleaned: bool):
    option = "clean_up_tokenization_spaces"
    config = {option: True, f"{option}_for_bpe_even_though_it_will_corrupt_output": forced}
    tokenizer = Tokenizer(KINDS[name](), config)
    ids = tokenizer.encode("a , b !")
    expected = "a, b!" if cleaned else "a , b !"
    decoder = tokenizer.stream()
    assert tokenizer.decode(ids) == expected
    assert "".join([*map(decoder.push, ids), decoder.flush()]) == expected
