"""Texts that ask for something said before: pairs of a key and a value hidden in prose.

Keys and values are tokens of the prose itself, so that any tokenizer will do.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from examples.halo.data.token_texts import TokenTexts
from sala_compile.runtime.errors import RequestError

KEY, VALUE = 3, 2
"""Tokens of a key, and of the value that follows it."""


@dataclass(frozen=True, slots=True)
class RecallTexts:
    """Token ids [texts, tokens]: the last key of each text was said before, with the value.

    The value is the end of the text; rows `tokens - VALUE - 1` and later predict it.
    """

    token_ids: torch.Tensor

    @property
    def expected(self) -> torch.Tensor:
        """The values: [texts, VALUE]."""
        return self.token_ids[:, -VALUE:]

    def rows(self, final: torch.Tensor) -> torch.Tensor:
        """Of `final` [texts * tokens, columns] the rows that predict values."""
        texts, tokens = self.token_ids.shape
        by_text = final.reshape(texts, tokens, -1)
        return by_text[:, tokens - VALUE - 1 : -1].flatten(0, 1)


def recall_texts(
    prose: TokenTexts, key: Sequence[int], texts: int, length: int, pairs: int
) -> RecallTexts:
    """Texts in which `pairs` keys have values, spread over the text; the end asks for one.

    The tokens of keys and values are distinct ones of the prose of all texts. Raises RequestError
    where that has too few.
    """
    found = prose.batch([*key, 0], texts, length).numpy()
    generator = np.random.default_rng([*key, 1])
    size, known = KEY + VALUE, np.unique(found)
    if len(known) < pairs * size or length < (pairs + 1) * size:
        raise RequestError(
            f"held-out texts of {length} tokens have {len(known)} different ones",
            where="--data",
            expected=f"{pairs * size} different ones in {(pairs + 1) * size} tokens and more",
            fix="add texts, or choose layers with --score divergence",
        )
    for ids in found:
        said = generator.permutation(known)[: pairs * size].reshape(pairs, size)
        room = (length - size) // pairs
        for number, pair in enumerate(said):
            place = number * room + int(generator.integers(room - size + 1))
            ids[place : place + size] = pair
        ids[-size:] = said[int(generator.integers(pairs))]
    return RecallTexts(torch.from_numpy(found))
