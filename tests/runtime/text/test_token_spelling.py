"""The bytes of tokens in the middle of a text."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sala_compile.runtime.text.tokenizer import Tokenizer
from sala_compile.runtime.text.tokenizers.token_spelling import escaped
from tests.support.tokenizers import EOS, KINDS, token_id, with_plain_tokens

TOKENIZERS = {name: Tokenizer(with_plain_tokens(make()), {}) for name, make in KINDS.items()}


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(deadline=None)
@given(text=st.text(st.sampled_from("ab cdx.\u00e9\u4f60\U0001f600"), max_size=20))
def test_the_bytes_of_tokens_are_those_of_the_text(name: str, text: str):
    tokenizer = TOKENIZERS[name]
    before = tokenizer.encode("a", special=False)
    ids = tokenizer.encode_continuation(text, before)
    whole = tokenizer.decode([*before, *ids])
    data = b"".join(tokenizer.spelling.of(token) for token in ids)
    assert tokenizer.decode(before).encode() + data == whole.encode()


def test_special_tokens_and_none_have_no_bytes():
    tokenizer = TOKENIZERS["llama"]
    assert tokenizer.spelling.of(token_id(tokenizer.core, EOS)) == b""
    assert tokenizer.spelling.of(10**6) == b""
    assert tokenizer.spelling.of(token_id(tokenizer.core, "<think>")) == b"<think>"


def test_a_part_of_a_character_is_escaped():
    assert escaped(b"a\xf0\x9f") == "a\\xf0\\x9f"
    assert escaped("\u4f60".encode()) == "\u4f60"
