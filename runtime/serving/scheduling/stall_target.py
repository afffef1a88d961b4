"""How many tokens of prompts a step may read, so that running answers do not stall."""

_WEIGHT = 0.3
"""What a new measurement counts, compared with those before it."""


class StallTarget:
    """The tokens to read in a step that is to take at most so many seconds.

    What a step takes without reading, and each token read, are measured as it runs. The size at
    most doubles from one step that reads to the next, and is a multiple of where reading may be
    cut, one at least.
    """

    def __init__(self, seconds: float, multiple: int, most: int) -> None:
        """At most `seconds` for a step, and `most` tokens; multiples of `multiple` tokens."""
        self.seconds = seconds
        self._multiple = multiple
        self._most = most
        self._newest = 0
        self._alone: float | None = None
        self._per_token: float | None = None

    def tokens(self, answering: int) -> int:
        """The most tokens to read next to so many answers; no limit where there are none."""
        if answering == 0:
            return self._most
        if self._per_token is None:
            return min(self._multiple, self._most)
        spare = max(0.0, self.seconds - (self._alone or 0.0))
        fitting = min(spare / self._per_token, self._most) if self._per_token else self._most
        fitting = min(int(fitting), max(self._multiple, 2 * self._newest))
        return min(self._most, max(1, fitting // self._multiple) * self._multiple)

    def note(self, seconds: float, read: int) -> None:
        """Note what a step took in which so many tokens were read."""
        if read == 0:
            self._alone = _mixed(self._alone, seconds)
            return
        if read < min(self._multiple, self._most):
            return  # what a step takes at least says nothing about a token
        self._newest = read
        rate = max(0.0, seconds - (self._alone or 0.0)) / read
        self._per_token = _mixed(self._per_token, rate)


def _mixed(before: float | None, now: float) -> float:
    """The average after one more measurement; one that is slower counts at once."""
    if before is None or now > 2 * before:
        return now
    return before + _WEIGHT * (now - before)
