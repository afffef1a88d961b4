"""How the tokens of a job are chosen: on the device where that suffices, else here."""

import numpy as np

from sala_compile.runtime.devices.draw import Draw
from sala_compile.runtime.engine.stepper import Stepper
from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.generation.sampling import Sampler
from sala_compile.runtime.serving.scheduling.likelihoods import likelihood
from sala_compile.runtime.serving.work.event import TokenChosen
from sala_compile.runtime.serving.work.job import Job


class TokenChoice:
    """Chooses the tokens of one job, as its options say."""

    def __init__(self, job: Job, vocabulary: int, stepper: Stepper) -> None:
        """RequestError for options that name tokens beyond the vocabulary."""
        self._job = job
        self._vocabulary = vocabulary
        self._sampler = Sampler(job.sampling, vocabulary)
        self._sampler.observe(job.prompt)
        self._ends = np.array(sorted(each for each in job.ends if each < vocabulary), np.int64)
        self._forbidden = _others(job.allowed, vocabulary)
        self._on_device = self._suffices(stepper)
        self.count = 0
        """How many were chosen."""

    @property
    def complete(self) -> bool:
        """Whether the constraint lets nothing follow."""
        return (
            self.count > 0 and self._job.constraint is not None and self._job.constraint.complete()
        )

    def draw(self) -> Draw | None:
        """What the device needs to choose the next token; None if the logits are needed here."""
        return self._sampler.draw() if self._on_device else None

    def chosen(self, token: int) -> TokenChosen:
        """Note a token that the device chose."""
        self.count += 1
        return TokenChosen(token)

    def choose(self, logits: np.ndarray) -> TokenChosen:
        """The next token for float32 `logits` [vocabulary].

        ArtifactError if none can be chosen; what the constraint raises.
        """
        job = self._job
        token = self._sampler.choose(self._allowed(logits))
        if job.constraint is not None:
            job.constraint.accept(token)
        self.count += 1
        if job.logprobs is None:
            return TokenChosen(token)
        return TokenChosen(token, likelihood(logits, token, job.logprobs))

    def _suffices(self, stepper: Stepper) -> bool:
        """Whether the device can choose every token."""
        job, sampler = self._job, self._sampler
        limited = job.constraint is not None or self._forbidden is not None
        changed = sampler.needs_texts or limited or job.min_tokens > 0
        told = job.prompt_logprobs or job.logprobs is not None
        if not stepper.samples or changed or told:
            return False
        return stepper.samples_min_p or not sampler.needs_min_p

    def _allowed(self, logits: np.ndarray) -> np.ndarray:
        """The logits, minus infinity for tokens that something forbids.

        That is the job's `allowed`, its constraint, or `min_tokens`; where the others leave
        nothing but ends, those come before `min_tokens`.
        """
        job = self._job
        if self._forbidden is not None:
            logits = np.where(self._forbidden, np.float32(-np.inf), logits)
        words = None if job.constraint is None else job.constraint.allowed()
        if words is not None:
            bits = np.unpackbits(words.view(np.uint8), count=self._vocabulary, bitorder="little")
            logits = np.where(bits.view(bool), logits, np.float32(-np.inf))
        if self.count < job.min_tokens and len(self._ends):
            endless = logits.copy()
            endless[self._ends] = -np.inf
            logits = endless if endless.max() > -np.inf else logits
        return logits


def _others(allowed: np.ndarray | None, vocabulary: int) -> np.ndarray | None:
    """Which ids are not among those that may be chosen, bool [vocabulary]; None if all may."""
    if allowed is None:
        return None
    if not len(allowed) or allowed.min() < 0 or allowed.max() >= vocabulary:
        raise RequestError(
            "the allowed tokens are none, or some of them are no tokens",
            where="option allowed_token_ids",
            expected=f"at least one id from 0 to {vocabulary - 1}",
        )
    forbidden = np.ones(vocabulary, bool)
    forbidden[allowed] = False
    return forbidden
