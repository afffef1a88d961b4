"""Chooses the next token from one row of logits."""

from typing import cast

import numpy as np

from sala_compile.runtime.devices.draw import Draw
from sala_compile.runtime.engine.logit_check import no_choice, not_a_number
from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.generation.sampling_options import SamplingOptions

__all__ = ["Draw", "Sampler", "SamplingOptions"]


class Sampler:
    """Chooses tokens for one sequence: owns its random stream, and the tokens seen and answered."""

    def __init__(
        self,
        options: SamplingOptions,
        vocabulary: int,
        random: np.random.Generator | None = None,
    ) -> None:
        """Begin a random stream at the seed, or continue with `random`; no token was seen yet.

        RequestError if `logit_bias` names a token beyond the `vocabulary`.
        """
        self.options = options
        self._random = random or np.random.Generator(np.random.PCG64(options.seed))
        self._seen = np.zeros(vocabulary, dtype=bool)
        self._answered = np.zeros(vocabulary, dtype=np.int64)
        self._bias = _bias_row(options, vocabulary)
        counts = bool(options.presence_penalty or options.frequency_penalty)
        self.needs_texts = counts or options.repetition_penalty != 1 or self._bias is not None
        """Whether logits are changed before the choice, by tokens seen or by biases."""

    @property
    def needs_min_p(self) -> bool:
        """Whether tokens are dropped by `min_p`."""
        return self.options.min_p > 0 and self.options.temperature > 0

    def draw(self) -> Draw:
        """What a device needs for the next token; the random stream continues as in `choose`."""
        options = self.options
        uniform = self._uniform()
        min_p = options.min_p if self.needs_min_p else 0.0
        return Draw(options.temperature, options.top_p, options.top_k, uniform, min_p)

    def observe(self, token_ids: "np.ndarray | list[int]") -> None:
        """Count `token_ids` as seen, and not as answered."""
        self._seen[np.asarray(token_ids, dtype=np.int64)] = True

    def choose(self, logits: np.ndarray) -> int:
        """The next token for float32 `logits` [vocabulary]; it counts as answered afterwards.

        Of equal logits the lowest id wins, and one of plus infinity with any options. Raises
        ArtifactError if a logit is not a number, or all are minus infinity.
        """
        token = int(logits.argmax())  # a NaN if there is one
        best = float(logits[token])
        if best != best:
            raise not_a_number()
        if best == -np.inf:
            raise no_choice()
        if self.needs_texts:
            logits = self._changed(logits.astype(np.float64))
            token = int(logits.argmax())
        if self.options.temperature > 0:
            uniform = self._uniform()
            token = token if best == np.inf else self._draw(logits, uniform)
        if self.needs_texts:
            self._seen[token] = True
            self._answered[token] += 1
        return token

    def _uniform(self) -> float:
        """The next number of the random stream; 0 where nothing is drawn."""
        return self._random.random() if self.options.temperature > 0 else 0.0

    def _changed(self, logits: np.ndarray) -> np.ndarray:
        """The logits, float64, with biases and penalties."""
        options = self.options
        if self._bias is not None:
            logits = logits + self._bias
        penalty = options.repetition_penalty
        if penalty != 1:
            changed = np.where(logits > 0, logits / penalty, logits * penalty)
            logits = np.where(self._seen, changed, logits)
        if options.frequency_penalty:
            logits = logits - options.frequency_penalty * self._answered
        if options.presence_penalty:
            logits = logits - options.presence_penalty * (self._answered > 0)
        return logits

    def _draw(self, logits: np.ndarray, uniform: float) -> int:
        """Invert the cumulative distribution of the kept tokens at one uniform number."""
        kept = _top_k(logits, self.options.top_k)
        weights = _weights(logits[kept].astype(np.float64), self.options.temperature)
        kept, weights = _top_p(kept, weights, self.options.top_p)
        possible = (weights > 0) & (weights >= self.options.min_p)
        kept, weights = kept[possible], weights[possible]
        cumulative = np.cumsum(weights)
        place = cast("int", np.searchsorted(cumulative, uniform * cumulative[-1], side="right"))
        return int(kept[min(place, len(kept) - 1)])


def _bias_row(options: SamplingOptions, vocabulary: int) -> np.ndarray | None:
    """What is added to each logit, float64 [vocabulary]; None if nothing is."""
    pairs = [(token, value) for token, value in dict(options.logit_bias).items() if value]
    if not pairs:
        return None
    if pairs[-1][0] >= vocabulary:
        raise RequestError(
            f"logit_bias has the token {pairs[-1][0]}",
            where="option logit_bias",
            expected=f"ids from 0 to {vocabulary - 1}",
        )
    row = np.zeros(vocabulary)
    for token, value in pairs:
        row[token] = value
    return row


def _weights(logits: np.ndarray, temperature: float) -> np.ndarray:
    """The weight of each token relative to the best, which has 1."""
    with np.errstate(over="ignore"):  # a tiny temperature: all but the best weigh nothing
        return np.exp((logits - logits.max()) / temperature)


def _top_k(logits: np.ndarray, count: int) -> np.ndarray:
    """Ids of the `count` largest logits in ascending order; of equal ones the lowest ids."""
    if count == 0 or count >= len(logits):
        return np.arange(len(logits))
    threshold = np.partition(logits, -count)[-count]
    above = np.flatnonzero(logits > threshold)
    level = np.flatnonzero(logits == threshold)[: count - len(above)]
    return np.sort(np.concatenate([above, level]))


def _top_p(ids: np.ndarray, weights: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """The smallest set of heaviest tokens that holds `share` of all weight, in ascending order.

    Of equal weights the lowest ids. Tokens lighter than (1 - share) / n of the total can never
    belong to it, since all of them together weigh less than what may be dropped; only the others
    are sorted.
    """
    if share == 1:
        return ids, weights
    total = weights.sum()
    possible = np.flatnonzero(weights >= total * (1 - share) / len(weights))
    order = possible[np.argsort(-weights[possible], kind="stable")]
    before = np.cumsum(weights[order]) - weights[order]
    kept = np.sort(order[before < share * total])
    return ids[kept], weights[kept]
