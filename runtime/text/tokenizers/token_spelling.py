"""The bytes that each token writes in the middle of a text."""

from collections.abc import Set

import tokenizers

from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.text.tokenizers.library_calls import library_errors
from sala_compile.runtime.text.tokenizers.stream_decoder import (
    byte_of,
    decoder_kinds,
    token_bytes,
)

_BEFORE = "a"
"""A token with text before another one, so that the decoder does not treat that as the first."""


class TokenSpelling:
    """The bytes of tokens by id: parts of a character are bytes as well."""

    def __init__(self, core: tokenizers.Tokenizer, hidden: Set[str]) -> None:
        """Of the library's tokenizer; tokens that are spelled as `hidden` have no text."""
        self._core = core
        self._hidden = hidden
        kinds = decoder_kinds(core.decoder)
        self._bytes = "ByteLevel" in kinds
        self._falls_back = "ByteFallback" in kinds
        self._prefix = self._decoded([_BEFORE])

    def of(self, token_id: int) -> bytes:
        """The bytes of a token after other text; empty for no token and for a special one."""
        with library_errors(RequestError, f"{token_id!r} is no token id"):
            token = self._core.id_to_token(int(token_id))
        if token is None or token in self._hidden:
            return b""
        return self._spelled(token)

    def part(self, token_id: int, text: str) -> bytes:
        """The bytes of a token that added `text` to a text: exact for parts of characters."""
        token = self._core.id_to_token(int(token_id))
        if token is None or token in self._hidden:
            return b""
        if self._bytes or (self._falls_back and byte_of(token) is not None):
            return self._spelled(token)
        return text.encode()

    def _spelled(self, token: str) -> bytes:
        if self._bytes:
            return token_bytes(token)
        if self._falls_back and (value := byte_of(token)) is not None:
            return bytes([value])
        return self._decoded([_BEFORE, token])[len(self._prefix) :].encode()

    def _decoded(self, tokens: list[str]) -> str:
        decoder = self._core.decoder
        return " ".join(tokens) if decoder is None else decoder.decode(tokens)


def escaped(data: bytes) -> str:
    r"""The text of `data`, with a byte that is no character as `\xf0`, as OpenAI writes it."""
    return data.decode(errors="backslashreplace")
