"""Where a mark ends in the tokens of an answer."""

from collections.abc import Iterable

import numpy as np

from sala_compile.runtime.serving.structure.grammar_tokenizer import GrammarTokenizer


class MarkTokens:
    """What a model's tokens have to do with a mark such as `</think>`."""

    def __init__(self, tokens: GrammarTokenizer, mark: str) -> None:
        self.mark = mark.encode()
        self._tokens = tokens
        self.whole = frozenset(
            token for token, text in tokens.tokenizer.marks.items() if text == mark
        )
        """Special tokens that are spelled so; others spell it in their text."""
        data = tokens.tokens
        beyond = [
            [token for token, each in enumerate(data) if self._passes(each, self.mark[k:], k)]
            for k in range(len(self.mark))
        ]
        self.beyond = [packed(ids, tokens.vocabulary) if ids else None for ids in beyond]
        """Packed bits of the tokens that go beyond the mark after so many bytes of it."""
        self._parts = [
            [token for token, each in enumerate(data) if each and self.mark[k:].startswith(each)]
            for k in range(len(self.mark))
        ]

    def _passes(self, data: bytes, rest: bytes, known: int) -> bool:
        if known == 0:
            return self.mark in data and not data.endswith(self.mark)
        return len(data) > len(rest) and data.startswith(rest)

    def continuing(self, known: int) -> frozenset[int]:
        """The tokens that may follow so many bytes of the mark on the way to its end."""
        parts = frozenset(self._parts[known])
        return parts if known else parts | self.whole

    def data(self, token: int) -> bytes:
        """The bytes of a token, where a special one that is the mark has those of the mark."""
        return self.mark if token in self.whole else self._tokens.tokens[token]


class MarkWatch:
    """Follows an answer until a mark is whole.

    What follows the mark has its own rules, so that no token may hold the mark's end and more.
    """

    def __init__(self, tokens: MarkTokens) -> None:
        self._tokens = tokens
        self._tail = b""

    def forbidden(self) -> np.ndarray | None:
        """Packed bits of the tokens that would go beyond the mark, uint32; None for none."""
        mark = self._tokens.mark
        known = [k for k in range(len(mark)) if self._tail.endswith(mark[:k])]
        masks = [self._tokens.beyond[k] for k in known]
        found = [mask for mask in masks if mask is not None]
        return np.bitwise_or.reduce(found) if found else None

    def push(self, token: int) -> bool:
        """Whether the mark is whole with `token`."""
        text = self._tail + self._tokens.data(token)
        found = self._tokens.mark in text
        self._tail = b"" if found else text[max(len(text) - len(self._tokens.mark) + 1, 0) :]
        return found


def packed(ids: Iterable[int], vocabulary: int) -> np.ndarray:
    """The bits of `ids`, uint32 [ceil(vocabulary / 32)]."""
    bits = np.zeros(-(-vocabulary // 32) * 32, np.uint8)
    bits[list(ids)] = 1
    return np.packbits(bits, bitorder="little").view(np.uint32)


def all_but(mask: np.ndarray, vocabulary: int) -> np.ndarray:
    """The bits of the other ids."""
    return packed(range(vocabulary), vocabulary) & ~mask
