"""Text from tokens one by one: what comes out, joined, is what decoding all of them gives."""

import codecs
import json
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from string import hexdigits
from typing import Any

from tokenizers import pre_tokenizers

from sala_compile.runtime.text.tokenizers.space_cleanup import SpaceCleaner

REPLACEMENT = "\ufffd"
"""The replacement of a byte that belongs to no character."""

Decode = Callable[[Sequence[int]], str]
Spell = Callable[[int], str | None]
"""How a token is spelled; None if it is no token, or one without text."""

# Tokens of the context that are read: more than any decoder looks at after a token with text.
_CONTEXT_TOKENS = 16
# Tokens whose text a later one may still change; no published decoder waits for any.
_WAITING_TOKENS = 64
# Bytes of a UTF-8 character that can be missing at the end; each may be decoded as U+FFFD.
_MISSING_BYTES = 3
_REMEMBERED = 8192  # tokens whose bytes are known; most texts have fewer different ones


def decoder_kinds(decoder: Any) -> list[str]:
    """The types of the parts of a library's decoder, in their order; empty without one."""
    return [] if decoder is None else list(_kinds(json.loads(decoder.__getstate__())))


def _kinds(state: dict[str, Any]) -> list[str]:
    if state["type"] != "Sequence":
        return [state["type"]]
    return [kind for part in state["decoders"] for kind in _kinds(part)]


class ByteLevelText:
    """Tokens that spell bytes, as byte-level vocabularies do: exact, for any bytes."""

    def __init__(self) -> None:
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._context = b""  # of a character that the context left open

    def begin_answer(self) -> None:
        """Treat what came so far as the context."""
        self._context = self._utf8.getstate()[0]

    def push(self, token_id: int, token: str) -> str:
        """The text that is certain with one more token."""
        return self._answer(token_bytes(token), final=False)

    def flush(self) -> str:
        """U+FFFD for a character that never became whole."""
        return self._answer(b"", final=True)

    def _answer(self, data: bytes, *, final: bool) -> str:
        text = self._utf8.decode(data, final)
        if not (self._context and text):
            return text
        # Decoding the context gave U+FFFD for its open bytes: one, or two for half a surrogate.
        shown = len(self._context.decode(errors="replace"))
        whole = self._context + data
        self._context = b""
        certain = text.startswith(REPLACEMENT) and not whole.startswith(REPLACEMENT.encode())
        return text[shown:] if certain else text


class WindowText:
    """Tokens that the library decodes, each with a few before it.

    A decoder treats the first token of a text differently (it drops its leading space), so a
    token is decoded with the last one that has text. Bytes wait until they are a character: the
    library makes U+FFFD of every byte of a run that has one too few or too many.
    """

    def __init__(self, decode: Decode, kinds: Sequence[str]) -> None:
        self._decode = decode
        self._spells_bytes = "ByteFallback" in kinds
        self._splits_characters = "ByteLevel" in kinds
        self._before: list[int] = []  # decoded, with text unless the text only begins
        self._window: list[int] = []
        self._text = ""  # of both, as far as it is certain
        self._bytes: list[tuple[int, int]] = []  # token id and byte of an open character
        self._context_bytes = 0  # of them, those that came with the context
        self._broken = False  # `before` is a byte that belongs to no character

    def begin_answer(self) -> None:
        """Treat what came so far as the context."""
        self._context_bytes = len(self._bytes)

    def push(self, token_id: int, token: str) -> str:
        """The text that is certain with one more token."""
        value = byte_of(token) if self._spells_bytes else None
        if value is None:
            return self._give_up(len(self._bytes)) + self._decoded([token_id])
        self._bytes.append((token_id, value))
        return self._characters()

    def flush(self) -> str:
        """The rest, with U+FFFD for the bytes of a character that never became whole."""
        text = self._joined()
        rest = text[len(self._text) :] if text.startswith(self._text) else ""
        return rest + self._give_up(len(self._bytes))

    def _characters(self) -> str:
        """The text of the bytes as far as they are characters, or cannot become one."""
        pieces: list[str] = []
        while self._bytes:
            data = bytes(value for _, value in self._bytes)
            try:
                character = data.decode()
            except UnicodeDecodeError as problem:
                if problem.start == 0 and problem.reason == "unexpected end of data":
                    break
                pieces.append(self._give_up(problem.end))
                continue
            ids = [token_id for token_id, _ in self._bytes]
            self._bytes, self._context_bytes = [], 0
            pieces.append(self._character(character, ids))
        return "".join(pieces)

    def _character(self, character: str, ids: list[int]) -> str:
        if not self._broken:
            return self._decoded(ids)
        self._begin_behind(ids)
        return character

    def _give_up(self, count: int) -> str:
        """U+FFFD for each of the first `count` waiting bytes that the context did not bring."""
        if count == 0:
            return ""
        last = self._bytes[count - 1][0]
        self._bytes = self._bytes[count:]
        earlier = min(count, self._context_bytes)
        self._context_bytes -= earlier
        if not (self._before or self._window):
            self._begin_behind([last])
            self._broken = True
        return REPLACEMENT * (count - earlier)

    def _decoded(self, ids: list[int]) -> str:
        """The text that is certain with the tokens `ids` after the window."""
        self._window += ids
        text = self._joined()
        piece = ""
        if text.startswith(self._text):
            certain = text[: len(text) - self._uncertain(text)]
            piece = certain[len(self._text) :]
            self._text = max(self._text, certain, key=len)
            if piece and len(certain) == len(text):
                self._begin_behind(self._window)
        if len(self._window) > _WAITING_TOKENS:
            self._begin_behind(self._before or self._window[-_CONTEXT_TOKENS:])
        return piece

    def _begin_behind(self, ids: list[int]) -> None:
        """Let `ids`, a few more where they have no text alone, be the context of what follows."""
        known = self._before + self._window
        self._before, self._window, self._broken = list(ids), [], False
        self._text = self._joined()
        if not self._text:
            self._before = known[-_CONTEXT_TOKENS:] or self._before
            self._text = self._joined()

    def _joined(self) -> str:
        return self._decode(self._before + self._window)

    def _uncertain(self, text: str) -> int:
        """How many of the last characters may still turn into another one."""
        if not self._splits_characters:
            return 0
        return min(len(text) - len(text.rstrip(REPLACEMENT)), _MISSING_BYTES)


def text_of(decode: Decode, decoder: Any) -> ByteLevelText | WindowText:
    """The object that turns tokens into characters, for a library's `decoder`."""
    kinds = decoder_kinds(decoder)
    return ByteLevelText() if kinds == ["ByteLevel"] else WindowText(decode, kinds)


@lru_cache(_REMEMBERED)
def token_bytes(token: str) -> bytes:
    """The bytes that a token of a byte-level vocabulary spells; others spell themselves."""
    alphabet = _alphabet()
    try:
        return bytes([alphabet[character] for character in token])
    except KeyError:
        return token.encode()


def byte_of(token: str) -> int | None:
    """The byte of a token such as `<0x0A>`."""
    if len(token) != 6 or not (token.startswith("<0x") and token.endswith(">")):
        return None
    digits = token[3:5]
    return int(digits, 16) if set(digits) <= set(hexdigits) else None


@cache
def _alphabet() -> dict[str, int]:
    """Byte of each character of the byte-level alphabet, whose first come those that print."""
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printed]
    alphabet = {chr(byte): byte for byte in printed}
    alphabet |= {chr(256 + place): byte for place, byte in enumerate(others)}
    assert set(alphabet) == set(pre_tokenizers.ByteLevel.alphabet())
    return alphabet


class StreamDecoder:
    """Decodes token by token: no character in halves, no space lost at a seam."""

    def __init__(
        self,
        spell: Spell,
        text: ByteLevelText | WindowText,
        cleaner: SpaceCleaner | None,
        context: Sequence[int] = (),
    ) -> None:
        """Begin after the tokens `context`, with a `text` that has had none."""
        self._spell = spell
        self._text = text
        self._cleaner = cleaner
        for token_id, token in self._end(context):
            self._clean(self._text.push(token_id, token))
        self._text.begin_answer()
        if cleaner is not None:
            cleaner.begin_answer()

    def push(self, token: int) -> str:
        """The text that is certain once `token` follows; often empty for a part of a character."""
        known = self._spell(token)
        return "" if known is None else self._clean(self._text.push(int(token), known))

    def flush(self) -> str:
        """The rest, with U+FFFD for a character that never became whole."""
        rest = self._clean(self._text.flush())
        return rest if self._cleaner is None else rest + self._cleaner.flush()

    def _end(self, context: Sequence[int]) -> list[tuple[int, str]]:
        """The last tokens of `context` that have text, and how they are spelled."""
        found: list[tuple[int, str]] = []
        for token_id in reversed(context):
            token = self._spell(token_id)
            if token is not None:
                found.append((int(token_id), token))
            if len(found) == _CONTEXT_TOKENS:
                break
        return found[::-1]

    def _clean(self, piece: str) -> str:
        return piece if self._cleaner is None else self._cleaner.push(piece)
