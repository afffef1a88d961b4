"""Digests of the first tokens of a text, which name kept prefixes."""

import hashlib
from collections.abc import Iterable

import numpy as np

from sala_compile.runtime.state.store import State
from sala_compile.runtime.state.text_history import Link, TextHistory

_DIGEST_BYTES = 16


class PrefixDigests:
    """Digests of texts of one model, apart for each attention path.

    A state is named by its key, the digest of its text with the history of how that was computed:
    equal keys are equal bits.
    """

    def __init__(self, model: str, paths: Iterable[str], page_tokens: int) -> None:
        """For the model with the digest `model`."""
        self._seeds = {path: _digest(b"", f"{model} {path}".encode()) for path in paths}
        self._page = page_tokens

    @property
    def paths(self) -> tuple[str, ...]:
        """The attention paths."""
        return tuple(self._seeds)

    def seed(self, path: str, salt: bytes = b"") -> bytes:
        """The digest of no tokens; texts of different salts have no digest in common."""
        seed = self._seeds[path]
        return _digest(seed, salt) if salt else seed

    def pages(self, ids: np.ndarray, path: str, salt: bytes = b"") -> list[bytes]:
        """The digests of `ids` up to the end of each of its pages."""
        return self._pages(self.seed(path, salt), ids)

    def longer(self, before: bytes, ids: np.ndarray) -> bytes:
        """The digest of a text of whole pages and fewer tokens than a page after them."""
        return _digest(before, np.ascontiguousarray(ids, np.int32).tobytes())

    def links(
        self, ids: np.ndarray, path: str, history: TextHistory, salt: bytes = b""
    ) -> list[Link]:
        """The links of a text's pages, and of itself if it ends within one."""
        texts, page = self.pages(ids, path, salt), self._page
        links = [history.cut((n + 1) * page).link(text) for n, text in enumerate(texts)]
        tail = ids[len(texts) * page :]
        if len(tail):
            before = texts[-1] if texts else self.seed(path, salt)
            links.append(history.link(self.longer(before, tail)))
        return links

    def complete(self, state: State, ids: np.ndarray) -> int:
        """Complete the links that a state carries, as far as all of it has one path.

        `ids` are its tokens, as far as they are known. How many of them have the path.
        """
        if not state.spans.ends:
            return 0
        end, path = state.spans.ends[0]
        end, links = min(end, len(ids)), state.links
        del links[end // self._page :]
        last = links[-1][0] if links else self.seed(path, state.salt)
        for text in self._pages(last, ids[len(links) * self._page : end]):
            history = state.history.cut((len(links) + 1) * self._page)
            links.append(history.link(text))
        return end

    def _pages(self, last: bytes, ids: np.ndarray) -> list[bytes]:
        found: list[bytes] = []
        whole = ids[: len(ids) // self._page * self._page]
        for page in np.ascontiguousarray(whole, np.int32).reshape(-1, self._page):
            last = _digest(last, page.tobytes())
            found.append(last)
        return found


def _digest(before: bytes, data: bytes) -> bytes:
    return hashlib.blake2b(before + data, digest_size=_DIGEST_BYTES).digest()
