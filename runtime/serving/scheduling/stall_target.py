"""How many tokens of prompts a step may read, so that running answers do not stall."""

_WEIGHT = 0.25
"""What a new measurement counts, compared with those before it."""
_AIM = 0.7
"""The part of the time that a step is to take: one that takes twice as long as it should, because
others use the machine, then stays within half as much again as is allowed."""


class StallTarget:
    """The tokens to read in a step that is to take at most so many seconds.

    What a step takes without reading, and each token read, are measured as it runs, and how much
    they vary: on a machine with other work parts are smaller. The size at most doubles from one
    step that reads to the next, and is a multiple of where reading may be cut, one at least.
    """

    def __init__(self, seconds: float, multiple: int, most: int) -> None:
        """At most `seconds` for a step, and `most` tokens; multiples of `multiple` tokens."""
        self.seconds = seconds
        self._multiple = multiple
        self._most = most
        self._newest = 0
        self._alone = _Measured()
        self._per_token = _Measured()

    def tokens(self, answering: int) -> int:
        """The most tokens to read next to so many answers; no limit where there are none."""
        if answering == 0:
            return self._most
        if not self._per_token.known:
            return min(self._multiple, self._most)
        spare, rate = max(0.0, _AIM * self.seconds - self._alone.high), self._per_token.high
        fitting = min(spare / rate, self._most) if rate else self._most
        fitting = min(int(fitting), max(self._multiple, 2 * self._newest))
        return min(self._most, max(1, fitting // self._multiple) * self._multiple)

    def note(self, seconds: float, read: int) -> None:
        """Note what a step took in which so many tokens were read."""
        if read == 0:
            self._alone.note(seconds)
            return
        if read < min(self._multiple, self._most):
            return  # what a step takes at least says nothing about a token
        self._newest = read
        self._per_token.note(max(0.0, seconds - self._alone.mean) / read)


class _Measured:
    """Something that is measured again and again: its mean, and how far from it it usually is."""

    def __init__(self) -> None:
        self.known = False
        self.mean = self._deviation = 0.0

    @property
    def high(self) -> float:
        """What it usually stays below."""
        return self.mean + self._deviation

    def note(self, value: float) -> None:
        """Note a measurement; by the first alone it may be half as much again, or half."""
        if not self.known:
            self.known, self.mean, self._deviation = True, value, value / 2
            return
        self._deviation += _WEIGHT * (abs(value - self.mean) - self._deviation)
        self.mean += _WEIGHT * (value - self.mean)
