"""What the scheduler tells the holder of a job."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from sala_compile.runtime.errors import SalaError


@dataclass(frozen=True, slots=True)
class Likelihood:
    """A token with the logarithm of its probability, and the likeliest ones at its place.

    Of the distribution that the model gives, before options and constraints change it. `top` are
    pairs of id and logarithm, the likeliest first; of equal ones the lowest id.
    """

    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Started:
    """A job left the queue; `cached_tokens` of its prompt are not read again."""

    cached_tokens: int
    queue_seconds: float


@dataclass(frozen=True, slots=True)
class PromptRead:
    """A part of the prompt was read, up to `tokens` of it.

    With `prompt_logprobs`, `likelihoods` are those of the part's tokens; the first of the prompt
    has None.
    """

    tokens: int
    likelihoods: Sequence[Likelihood | None] = ()


@dataclass(frozen=True, slots=True)
class TokenChosen:
    """A new token of the answer; `likelihood` if log probabilities were requested."""

    token: int
    likelihood: Likelihood | None = None


@dataclass(frozen=True, slots=True)
class BlocksRead:
    """Which blocks of the text the sparse layers read for an observed answer.

    `reads` holds for each layer, by its number, uint32 [blocks]: how many heads, summed over the
    `tokens` that were chosen on a sparse path, read each block of `block_tokens` tokens.
    """

    block_tokens: int
    tokens: int
    reads: Mapping[int, np.ndarray]


class End(StrEnum):
    """What ended a job."""

    END_TOKEN = "end token"  # one of `ends`, which is the last token chosen
    LENGTH = "length"
    CONTEXT = "context"
    CONSTRAINT = "constraint"  # the grammar is complete
    CANCELLED = "cancelled"
    DEADLINE = "deadline"
    FAILED = "failed"
    SHUTDOWN = "shutdown"


@dataclass(frozen=True, slots=True)
class Ended:
    """The last event of every job; `error` if the end is FAILED."""

    end: End
    error: SalaError | None = None


Event = Started | PromptRead | TokenChosen | BlocksRead | Ended
