"""Log probabilities of tokens, from rows of logits."""

from collections.abc import Sequence

import numpy as np

from sala_compile.runtime.serving.work.event import Likelihood


def likelihood(logits: np.ndarray, token: int, count: int) -> Likelihood:
    """How likely a token is by the float32 `logits` [vocabulary], with `count` alternatives.

    The logarithm of softmax in float64. The alternatives are the likeliest tokens.
    """
    logarithms = _log_softmax(logits)
    best = _likeliest(logits, min(count, len(logits)))
    top = tuple((int(each), float(logarithms[each])) for each in best)
    return Likelihood(float(logarithms[token]), top)


def likelihoods(logits: np.ndarray, tokens: Sequence[int], count: int) -> list[Likelihood]:
    """The likelihood of each token by its row of `logits` [tokens, vocabulary]."""
    return [likelihood(row, token, count) for row, token in zip(logits, tokens, strict=True)]


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    values = logits.astype(np.float64)
    largest = values.max()
    if largest == np.inf:  # it has all probability, shared by those that are as large
        values, largest = np.where(values == np.inf, 0.0, -np.inf), 0.0
    values -= largest
    return values - np.log(np.exp(values).sum())


def _likeliest(logits: np.ndarray, count: int) -> np.ndarray:
    """The ids of the `count` largest logits, the largest first; of equal ones the lowest id."""
    if count == 0:
        return np.zeros(0, np.int64)
    threshold = np.partition(logits, -count)[-count]
    above = np.flatnonzero(logits > threshold)
    level = np.flatnonzero(logits == threshold)[: count - len(above)]
    found = np.concatenate([above, level])
    return found[np.lexsort((found, -logits[found]))]
