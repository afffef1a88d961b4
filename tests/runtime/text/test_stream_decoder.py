"""Decoding in a stream gives, piece by piece, what decoding the whole gives."""

import random
from collections.abc import Sequence

import pytest
import tokenizers
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import decoders
from tokenizers.decoders import DecodeStream

from sala_compile.runtime.generation.stopping import StopStrings
from sala_compile.runtime.text.tokenizer import Tokenizer
from sala_compile.runtime.text.tokenizers.stream_decoder import _alphabet
from tests.support.tokenizers import (
    BOS,
    EOS,
    KINDS,
    SPACE,
    byte_level,
    letters,
    llama,
    token_id,
    with_plain_tokens,
)

TEXTS = (
    *("\u4f60\u597d", "\U0001f469\u200d\U0001f469\u200d\U0001f467", "\ud55c\uad6d\uc5b4"),
    *(
        "\u0928\u092e\u0938\u094d\u0924\u0947",
        "\U0001f1e9\U0001f1ea",
        "a\u4f60 b",
        "\ufffd",
        "e\u0301",
    ),
)


def _streamed(tokenizer: Tokenizer, ids: Sequence[int], context: Sequence[int] = ()) -> list[str]:
    decoder = tokenizer.stream(context)
    return [*(decoder.push(token) for token in ids), decoder.flush()]


def _bytes(core: tokenizers.Tokenizer, data: bytes) -> list[int]:
    return [token_id(core, f"<0x{byte:02X}>") for byte in data]


def test_no_half_character_is_shown():
    tokenizer = Tokenizer(byte_level(), {})
    text = "a\u00e9\u4f60\U0001f600z"
    pieces = _streamed(tokenizer, tokenizer.encode(text))
    assert "".join(pieces) == text
    assert pieces == ["a", "", "\u00e9", "", "", "\u4f60", "", "", "", "\U0001f600", "z", ""]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("before", ["", "\u4f60", "Hi", " "])
def test_characters_of_bytes_come_whole(text: str, before: str):
    tokenizer = Tokenizer(llama(), {})
    context = [1, *_bytes(tokenizer.core, before.encode())]
    pieces = _streamed(tokenizer, _bytes(tokenizer.core, text.encode()), context)
    assert "".join(pieces) == text
    assert all("\ufffd" not in piece for piece in pieces) or "\ufffd" in text
    ends, place = [], 0
    for character in text:
        place += len(character.encode())
        ends.append(place - 1)
    assert [i for i, piece in enumerate(pieces) if piece] == ends  # each as soon as it is whole


@pytest.mark.parametrize("text", TEXTS)
def test_an_answer_may_begin_inside_a_character(text: str):
    tokenizer = Tokenizer(llama(), {})
    ids = _bytes(tokenizer.core, text.encode())
    for cut in range(1, len(ids)):
        rest = "".join(_streamed(tokenizer, ids[cut:], ids[:cut]))
        known = text.encode()[:cut].decode(errors="ignore")
        assert known + rest == text


@pytest.mark.parametrize("stop", ["\u597d", "\u4f60\u597d", "\u597d\u4f60"])
def test_a_stop_string_of_bytes_is_seen(stop: str):
    tokenizer = Tokenizer(llama(), {})
    decoder, watcher = tokenizer.stream(), StopStrings([stop])
    text = "".join(
        watcher.push(decoder.push(token))
        for token in _bytes(tokenizer.core, "\u4f60\u597d\u4f60\u597d".encode())
    )
    assert watcher.stopped_by == stop
    assert text == "\u4f60\u597d\u4f60\u597d".partition(stop)[0]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\xff", ["\ufffd", ""]),
        ("\u4f60".encode() + b"\xff", ["", "", "\u4f60", "\ufffd", ""]),
        (b"\xff" + "\u4f60".encode(), ["\ufffd", "", "", "\u4f60", ""]),
        (b"\xe4\xbda", ["", "", "\ufffd\ufffda", ""]),
        (b"\xe4\xe4\xbd\xa0", ["", "\ufffd", "", "\u4f60", ""]),
        (b"\xe4\xbd", ["", "", "\ufffd\ufffd"]),
        (b"\xf0\x9f\x98", ["", "", "", "\ufffd\ufffd\ufffd"]),
        (b"\xc0\x80", ["\ufffd", "\ufffd", ""]),
    ],
)
def test_bytes_of_no_character_spoil_no_other(data: bytes, expected: list[str]):
    tokenizer = Tokenizer(llama(), {})
    assert _streamed(tokenizer, _bytes(tokenizer.core, data)) == expected


def test_a_byte_of_no_character_is_text_for_the_space_behind_it():
    tokenizer = Tokenizer(llama(), {})
    there = token_id(tokenizer.core, f"{SPACE}there")
    stray = _bytes(tokenizer.core, b"\xff")
    assert _streamed(tokenizer, [*stray, there]) == ["\ufffd", " there", ""]
    assert tokenizer.decode([*stray, there]) == "\ufffd there"


def test_a_character_that_the_context_left_open_is_told_once():
    for core, parts in ((llama(), b"\xe4\xbd"), (byte_level(), None)):
        tokenizer = Tokenizer(core, {})
        open_ids = tokenizer.encode("\u4f60")[:2] if parts is None else _bytes(core, parts)
        letter = tokenizer.encode("x")[-1:]
        for answer in ([], letter):
            whole = tokenizer.decode([*open_ids, *answer])
            rest = whole[len(tokenizer.decode(open_ids)) :]
            assert "".join(_streamed(tokenizer, answer, open_ids)) == rest


def test_invalid_bytes_do_not_spoil_the_next_character():
    tokenizer = Tokenizer(byte_level(), {})
    invalid = tokenizer.encode("\u4f60")[:1] * 5
    text = "".join(_streamed(tokenizer, invalid + tokenizer.encode("\u4f60!")))
    assert text == "\ufffd" * 5 + "\u4f60!"


def test_an_unfinished_character_comes_at_the_end():
    tokenizer = Tokenizer(byte_level(), {})
    assert _streamed(tokenizer, tokenizer.encode("a\u4f60")[:3]) == ["a", "", "", "\ufffd"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([f"{SPACE}Hi", f"{SPACE}there", "!"], ["Hi", " there", "!", ""]),
        ([SPACE, f"{SPACE}there"], ["", " there", ""]),
        ([f"{SPACE}Hi", BOS, f"{SPACE}there"], ["Hi", "", " there", ""]),
        ([f"{SPACE}Hi", SPACE * 2, "x"], ["Hi", "  ", "x", ""]),
        (["<0xE4>", "<0xBD>", "<0xA0>", f"{SPACE}Hi"], ["", "", "\u4f60", " Hi", ""]),
        (["<0xE4>", EOS, "<0xBD>", "<0xA0>"], ["", "", "", "\u4f60", ""]),
        (["<0x20>", "<0x20>", f"{SPACE}Hi"], ["", " ", " Hi", ""]),
        ([BOS, EOS], ["", "", ""]),
    ],
)
def test_spaces_survive_the_seams(words: list[str], expected: list[str]):
    tokenizer = Tokenizer(llama(), {})
    ids = [token_id(tokenizer.core, word) for word in words]
    assert _streamed(tokenizer, ids) == expected


def test_a_context_keeps_the_first_space():
    tokenizer = Tokenizer(llama(), {})
    hi, there = (token_id(tokenizer.core, f"{SPACE}{word}") for word in ("Hi", "there"))
    for context in ([1, hi], [hi, *[EOS_ID] * 40], [hi, 10**6]):
        assert _streamed(tokenizer, [there], context) == [" there", ""]
    for context in ([], [1], [EOS_ID] * 40):
        assert _streamed(tokenizer, [there], context) == ["there", ""]


EOS_ID = 2


def test_ids_that_are_no_tokens_have_no_text():
    tokenizer = Tokenizer(byte_level(), {})
    assert _streamed(tokenizer, [10**6, *tokenizer.encode("a"), 2**32 - 1]) == ["", "a", "", ""]


@pytest.mark.parametrize("name", KINDS)
def test_random_ids_stream_as_they_decode(name: str):
    core = with_plain_tokens(KINDS[name]())
    tokenizer = Tokenizer(core, {})
    draw = random.Random(5)
    # Bytes that are no characters: the library makes U+FFFD of their whole run (tested above).
    bytes_apart = {core.token_to_id(f"<0x{byte:02X}>") for byte in range(0x80, 256)} - {None}
    choice = [token for token in range(tokenizer.vocabulary) if token not in bytes_apart]
    characters = ["\u4f60", "\u597d", "\U0001f600", "\u00e9"]
    for _ in range(200):
        ids: list[int] = []
        for _ in range(draw.randrange(1, 12)):
            if bytes_apart and draw.random() < 0.3:
                ids += _bytes(core, draw.choice(characters).encode())
            else:
                ids.append(draw.choice(choice))
        cut = draw.randrange(len(ids)) if draw.random() < 0.7 else 0
        whole, known = tokenizer.decode(ids), tokenizer.decode(ids[:cut])
        text = "".join(_streamed(tokenizer, ids[cut:], ids[:cut]))
        if whole.startswith(known):
            assert text == whole[len(known) :]
        else:  # the cut is inside a character
            assert whole.endswith(text.lstrip("\ufffd"))
        if cut == 0:
            assert text == whole


@pytest.mark.parametrize("name", KINDS)
@given(text=st.text(max_size=30))
def test_a_text_streams_as_the_library_streams_it(name: str, text: str):
    """The library's own stream holds U+FFFD back for ever; without any it is right."""
    tokenizer = Tokenizer(KINDS[name](), {})
    ids = tokenizer.encode(text)
    found = "".join(_streamed(tokenizer, ids))
    assert found == tokenizer.decode(ids)
    if "\ufffd" not in found:
        theirs = DecodeStream(skip_special_tokens=True)
        assert found == "".join(theirs.step(tokenizer.core, token) or "" for token in ids)


@example(data=b"\xed\xa0", cut=2)
@example(data=b"\xed\xa0a", cut=2)
@given(data=st.binary(max_size=12), cut=st.integers(0, 12))
def test_bytes_of_a_byte_level_vocabulary_stream_exactly(data: bytes, cut: int):
    tokenizer = Tokenizer(byte_level(), {})
    spelled = {byte: character for character, byte in _alphabet().items()}
    ids = [token_id(tokenizer.core, spelled[byte]) for byte in data]
    assert tokenizer.decode(ids) == data.decode(errors="replace")
    whole, known = tokenizer.decode(ids), tokenizer.decode(ids[:cut])
    text = "".join(_streamed(tokenizer, ids[cut:], ids[:cut]))
    assert text == whole[len(known) :] or not whole.startswith(known)
    assert "".join(_streamed(tokenizer, ids)) == whole


@pytest.mark.parametrize(
    "decoder",
    [
        None,
        decoders.BPEDecoder("!"),
        decoders.CTC("a", "x"),
        decoders.WordPiece("##", cleanup=True),
        decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)]),
        decoders.Sequence([decoders.Replace("b", ""), decoders.Fuse()]),
        decoders.Metaspace(SPACE, "always"),
    ],
)
def test_other_decoders_stream_as_they_decode(decoder: decoders.Decoder | None):
    core = llama(letters())
    core.decoder = decoder
    tokenizer = Tokenizer(core, {})
    draw = random.Random(7)
    choice = [token for token in range(40) if token != 0]
    for _ in range(300):
        ids = [draw.choice(choice) for _ in range(draw.randrange(1, 9))]
        assert "".join(_streamed(tokenizer, ids)) == tokenizer.decode(ids)


class _Counted:
    """A tokenizer that counts how many ids it decodes."""

    def __init__(self, core: tokenizers.Tokenizer) -> None:
        self.ids = 0
        self._core = core

    def __getattr__(self, name: str) -> object:
        return getattr(self._core, name)

    def decode(self, ids: list[int], *, skip_special_tokens: bool) -> str:
        self.ids += len(ids)
        return self._core.decode(ids, skip_special_tokens=skip_special_tokens)


@pytest.mark.parametrize(
    "unit",
    [
        ["x"],
        [SPACE],
        [EOS],
        ["<0xE4>", "<0xBD>", "<0xA0>"],
        ["<0xFF>"],
        ["<0xE4>"],
        ["<0x20>"],
        ["x", EOS, "<0xE4>"],
    ],
)
def test_a_long_stream_takes_linear_work(unit: list[str]):
    counted = _Counted(llama())
    tokenizer = Tokenizer(counted, {})  # pyright: ignore[reportArgumentType]
    ids = [token_id(counted._core, word) for word in unit] * (12_000 // len(unit))
    decoder = tokenizer.stream(ids)
    for token in ids:
        decoder.push(token)
    decoder.flush()
    assert counted.ids < 40 * len(ids)
