"""Learning rates and sizes of a stage."""

import math
from dataclasses import dataclass

WARM_UP = 50


@dataclass(frozen=True, slots=True)
class Schedule:
    """`steps` of `batch` x `parts` texts of `length` tokens each; the rate falls to `last_rate`.

    A step adds the gradients of `parts` batches.
    """

    steps: int
    batch: int
    parts: int
    length: int
    rate: float
    last_rate: float
    clip: float = 1.0

    @classmethod
    def of_tokens(cls, tokens: int, **sizes: float) -> "Schedule":
        """As many steps as `tokens` give, at least one."""
        step = int(sizes["batch"] * sizes["parts"] * sizes["length"])
        return cls(steps=max(1, tokens // step), **sizes)  # pyright: ignore

    @property
    def step_tokens(self) -> int:
        """Tokens of one step."""
        return self.batch * self.parts * self.length

    @property
    def warm_up(self) -> int:
        """Steps over which the rate rises: 50, or a tenth of a short stage."""
        return min(WARM_UP, max(1, self.steps // 10))

    def rate_at(self, step: int) -> float:
        """The rate of step 0, 1, ...: rising in the warm-up, then along a cosine."""
        if step < self.warm_up:
            return self.rate * (step + 1) / self.warm_up
        share = (step - self.warm_up) / max(1, self.steps - self.warm_up)
        return self.last_rate + (self.rate - self.last_rate) * 0.5 * (1 + math.cos(math.pi * share))
