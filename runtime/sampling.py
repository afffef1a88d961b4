"""Chooses the next token from one row of logits."""

import math
from dataclasses import dataclass

import numpy as np

from runtime.errors import ArtifactError, RequestError
from runtime.units import is_whole

_STRONGEST_PENALTY = 1000.0
"""Beyond it logits leave the range of float32."""


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """How the next token is chosen.

    `temperature` 0 takes the most likely token. Otherwise the logits are divided by it, all but the
    `top_k` best are dropped (0 keeps all), then all but the smallest set of tokens whose
    probabilities reach `top_p`. `repetition_penalty` divides the positive and multiplies the
    negative logits of every token seen so far, the prompt's included. Equal options and seed give
    equal tokens on every machine that gives equal logits.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        _require(
            _is_within(self.temperature, 0) and math.isfinite(self.temperature),
            self,
            "temperature",
            "0 or more",
        )
        _require(
            _is_within(self.top_p, 0, 1) and self.top_p > 0, self, "top_p", "above 0, at most 1"
        )
        _require(
            is_whole(self.top_k) and self.top_k >= 0,
            self,
            "top_k",
            "a whole number, 0 keeps all tokens",
        )
        _require(
            _is_within(self.repetition_penalty, 1 / _STRONGEST_PENALTY, _STRONGEST_PENALTY),
            self,
            "repetition_penalty",
            "from 0.001 to 1000, 1 changes nothing",
        )
        _require(is_whole(self.seed) and self.seed >= 0, self, "seed", "a whole number, 0 or more")


def _is_within(value: object, least: float, most: float = math.inf) -> bool:
    return isinstance(value, int | float | np.number) and bool(least <= value <= most)


def _require(holds: bool, options: SamplingOptions, name: str, expected: str) -> None:
    if not holds:
        raise RequestError(
            f"{name} is {getattr(options, name)!r}", where=f"option {name}", expected=expected
        )


@dataclass(frozen=True, slots=True)
class Draw:
    """How a device chooses one token: as `Sampler`, with `uniform` as the random number."""

    temperature: float
    top_p: float
    top_k: int
    uniform: float

    def words(self) -> np.ndarray:
        """The draw as the kernel reads it, int32 [4]: floats by their bits, top_k third."""
        words = np.array([self.temperature, self.top_p, 0, self.uniform], np.float32)
        words[3] = min(words[3], _BELOW_ONE)
        found = words.view(np.int32)
        found[2] = min(self.top_k, _LARGEST)
        return found


_LARGEST = 2**31 - 1
_BELOW_ONE = np.nextafter(np.float32(1), np.float32(0))


class Sampler:
    """Chooses tokens for one sequence: owns its random stream and the set of tokens seen."""

    def __init__(self, options: SamplingOptions, vocabulary: int) -> None:
        """Begin a random stream at the seed; no token of the `vocabulary` was seen yet."""
        self.options = options
        self._random = np.random.Generator(np.random.PCG64(options.seed))
        self._seen = np.zeros(vocabulary, dtype=bool)

    @property
    def needs_texts(self) -> bool:
        """Whether a choice depends on the tokens seen so far."""
        return self.options.repetition_penalty != 1

    def draw(self) -> Draw:
        """What a device needs for the next token; the random stream goes on as in `choose`."""
        options = self.options
        uniform = self._random.random() if options.temperature > 0 else 0.0
        return Draw(options.temperature, options.top_p, options.top_k, uniform)

    def observe(self, token_ids: "np.ndarray | list[int]") -> None:
        """Count `token_ids` as seen."""
        self._seen[np.asarray(token_ids, dtype=np.int64)] = True

    def choose(self, logits: np.ndarray) -> int:
        """The next token for float32 `logits` [vocabulary]; it counts as seen afterwards.

        Of equal logits the lowest id wins. Raises ArtifactError where a logit is not a number.
        """
        if np.isnan(logits).any():
            raise not_a_number()
        logits = self._penalised(logits)
        token = int(np.argmax(logits)) if self.options.temperature == 0 else self._draw(logits)
        self._seen[token] = True
        return token

    def _penalised(self, logits: np.ndarray) -> np.ndarray:
        penalty = self.options.repetition_penalty
        if penalty == 1:
            return logits
        changed = np.where(logits > 0, logits / penalty, logits * penalty)
        return np.where(self._seen, changed, logits)

    def _draw(self, logits: np.ndarray) -> int:
        """Invert the cumulative distribution of the kept tokens at one uniform number."""
        kept = _top_k(logits, self.options.top_k)
        scaled = logits[kept].astype(np.float64)
        with np.errstate(over="ignore"):  # a tiny temperature: all but the best weigh nothing
            weights = np.exp((scaled - scaled.max()) / self.options.temperature)
        kept, weights = _top_p(kept, weights, self.options.top_p)
        cumulative = np.cumsum(weights)
        place = np.searchsorted(cumulative, self._random.random() * cumulative[-1], side="right")
        return int(kept[min(place, len(kept) - 1)])


def not_a_number() -> ArtifactError:
    """What is wrong where a logit is NaN."""
    return ArtifactError(
        "the model computed a logit that is not a number",
        fix="sala-inspect --verify tells whether the artifact runs right on this machine",
    )


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
