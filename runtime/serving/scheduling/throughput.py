"""How many tokens a second are read and answered, over the last seconds."""

from collections import deque


class Throughput:
    """Tokens of the last seconds in which steps ran."""

    def __init__(self, seconds: float = 10.0) -> None:
        """Over so many seconds of work."""
        self._most = seconds
        self._steps: deque[tuple[float, int, int]] = deque()
        self._seconds = 0.0
        self._read = self._answered = 0

    def note(self, seconds: float, read: int, answered: int) -> None:
        """Note a step that took so long."""
        self._add(seconds, read, answered)
        self._steps.append((seconds, read, answered))
        while self._seconds > self._most and len(self._steps) > 1:
            before = self._steps.popleft()
            self._add(*(-number for number in before))

    def rates(self) -> tuple[float, float]:
        """Tokens that were read, and that were answered, in a second of work."""
        if self._seconds <= 0:
            return 0.0, 0.0
        return self._read / self._seconds, self._answered / self._seconds

    def _add(self, seconds: float, read: float, answered: float) -> None:
        self._seconds += seconds
        self._read += int(read)
        self._answered += int(answered)
