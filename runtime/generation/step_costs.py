"""What a further token adds to a step, from the times of steps so far."""

import numpy as np

SLOPE = 0.15
"""What it adds to a step of one token, before anything was measured."""
MEMORY = 0.98
"""What a step still counts after the next one."""
LATE = 3.0
"""Steps that take so many times what they should are of somebody else."""
ENOUGH = 4


class StepCosts:
    """A line through the seconds of steps over their tokens, the newest counting most."""

    def __init__(self) -> None:
        self._sums = np.zeros(5)  # of 1, tokens, seconds, tokens^2, tokens x seconds
        self._count = 0

    def note(self, tokens: int, seconds: float) -> None:
        """Note a step that generates."""
        if self._count >= ENOUGH and seconds > LATE * self.seconds(tokens):
            return
        self._count += 1
        terms = (1, tokens, seconds, tokens * tokens, tokens * seconds)
        self._sums = MEMORY * self._sums + np.array(terms)

    def slope(self, tokens: int) -> float:
        """The part of a step of so many tokens that one more takes."""
        base, each = self._fit()
        whole = base + each * tokens
        return SLOPE if whole <= 0 else min(1.0, max(0.0, each / whole))

    def seconds(self, tokens: int) -> float:
        """What a step of so many tokens takes; 0 before any was noted."""
        base, each = self._fit()
        return base + each * tokens

    def _fit(self) -> tuple[float, float]:
        """Seconds of no token, and of each; the slope is a guess until tokens differ."""
        count, tokens, seconds, squares, products = self._sums
        if not count:
            return 0.0, 0.0
        spread = count * squares - tokens * tokens
        if spread < 1e-3 * count * count:
            each = SLOPE * seconds / (count + SLOPE * tokens)
        else:
            each = (count * products - tokens * seconds) / spread
        return (seconds - each * tokens) / count, each
