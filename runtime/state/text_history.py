"""How the tokens of a sequence were computed: with their ids, what decides every bit."""

import hashlib
import secrets
from dataclasses import dataclass

import numpy as np

Link = tuple[bytes, bytes]
"""The digest of the first tokens of a text, and their key: the digest with their history."""


@dataclass(frozen=True, slots=True)
class TextHistory:
    """The parts of a text that were read or generated, in turns.

    `parts` holds for each part after the first its first token and whether it was generated. All
    is read from the beginning if there are none, cut where that changes no bit: such a text is
    exact. States of equal tokens, attention path and history are equal to the bit. What was
    computed elsewhere has an `origin` of its own, which makes it equal to nothing else.
    """

    parts: tuple[tuple[int, bool], ...] = ()
    origin: bytes = b""

    @classmethod
    def unknown(cls) -> "TextHistory":
        """That of a text of which nobody knows how it was computed."""
        return cls(origin=secrets.token_bytes(16))

    @property
    def exact(self) -> bool:
        """Whether all was read as one prompt is."""
        return not self.parts and not self.origin

    def exact_length(self, length: int) -> int:
        """How many of the first `length` tokens were read as one prompt is."""
        if self.origin:
            return 0
        return min(length, self.parts[0][0]) if self.parts else length

    def continues(self, length: int, multiple: int) -> bool:
        """Whether a prompt may go on after the first `length` tokens.

        After what was generated anywhere, after what was read only where reading may be cut, at
        multiples of `multiple` tokens: what follows would otherwise have other bits than without
        the reuse.
        """
        generated = self.parts[-1][1] if self.parts else bool(self.origin)
        return generated or length % multiple == 0

    def grown(self, begin: int, generated: bool, multiple: int) -> "TextHistory":
        """With tokens from `begin` on; reading may be cut at multiples of `multiple` tokens."""
        last = self.parts[-1][1] if self.parts else False
        if generated == last and (generated or begin % multiple == 0):
            return self
        return TextHistory((*self.parts, (begin, generated)), self.origin)

    def cut(self, length: int) -> "TextHistory":
        """That of the first `length` tokens."""
        if not length:
            return TextHistory()
        if not self.parts or self.parts[-1][0] < length:
            return self
        return TextHistory(tuple(p for p in self.parts if p[0] < length), self.origin)

    def link(self, text: bytes) -> Link:
        """The digest of a text, and its key; of an exact one, the digest again."""
        if self.exact:
            return text, text
        words = np.array([2 * begin + generated for begin, generated in self.parts], np.int64)
        digest = hashlib.blake2b(digest_size=len(text))
        for data in (text, self.origin, words.tobytes()):
            digest.update(data)
        return text, digest.digest()
