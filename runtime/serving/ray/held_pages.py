"""What a replica holds, and what a prompt begins with, as short digests of pages.

The digests are those of the prefix cache: of the model with its element types, of the attention
path, and of all tokens up to the end of a page. Eight bytes of each travel; two texts that share
them by chance cost one request a detour.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from sala_compile.runtime.artifact import Artifact
from sala_compile.runtime.state.attention_paths import PathRule
from sala_compile.runtime.state.prefix_digests import PrefixDigests
from sala_compile.runtime.state.prefix_tree import PrefixTree
from sala_compile.runtime.state.saving import model_digest

SHORT = 8
MOST_HELD = 4096
"""Prefixes that a replica publishes: those that were of use last."""


class PromptPages:
    """The digests of prompts for one artifact. Any thread may call."""

    def __init__(self, artifact: Artifact) -> None:
        """As the prefix cache of a model of this artifact computes them."""
        self._rule = PathRule(artifact.program.paths)
        self._digests = PrefixDigests(
            model_digest(artifact.manifest), self._rule.names, artifact.program.paging.page_tokens
        )

    def of(self, ids: np.ndarray, salt: bytes = b"") -> bytes:
        """The short digests of the whole pages of a prompt whose last token is to be read."""
        path = self._rule.path(len(ids))
        return packed_digests(self._digests.pages(ids[: len(ids) - 1], path, salt))


def held_pages(tree: PrefixTree) -> bytes:
    """The short digests of the whole pages of what a cache holds, as far as it is published."""
    entries = sorted(tree, key=lambda entry: entry.used, reverse=True)[:MOST_HELD]
    return packed_digests(dict.fromkeys(entry.boundary for entry in entries))


def packed_digests(digests: Iterable[bytes]) -> bytes:
    """Digests as the bytes that travel."""
    return b"".join(digest[:SHORT] for digest in digests)


def unpacked_digests(data: bytes) -> Sequence[bytes]:
    """The short digests, in their order."""
    return [data[at : at + SHORT] for at in range(0, len(data) - SHORT + 1, SHORT)]
