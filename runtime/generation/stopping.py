"""Finds stop strings in text that arrives in pieces."""

from collections.abc import Sequence

from sala_compile.runtime.errors import RequestError


class StopStrings:
    """Passes text on until a stop string appears, which is never passed on, not even in part.

    The string that is whole first stops, so that the cut does not depend on how the text was split.
    """

    def __init__(self, strings: Sequence[str]) -> None:
        """Watch for `strings`, none of them empty."""
        if isinstance(strings, str):
            strings = (strings,)
        wrong = [string for string in strings if not (string and isinstance(string, str))]
        if wrong:
            raise RequestError(
                f"the stop string {wrong[0]!r} is empty"
                if wrong[0] == ""
                else f"{wrong[0]!r} is no stop string",
                where="option stop",
                expected="text of at least one character",
            )
        self._strings = tuple(strings)
        self._held = ""
        self.stopped_by: str | None = None

    def push(self, piece: str) -> str:
        """The text that is certain after `piece`; sets `stopped_by` once a stop string is whole."""
        if self.stopped_by is not None:
            return ""
        if not self._strings:
            return piece
        text = self._held + piece
        whole = [(text.find(stop), stop) for stop in self._strings if stop in text]
        if whole:
            place, self.stopped_by = min(
                whole, key=lambda found: (found[0] + len(found[1]), found[0])
            )
            self._held = ""
            return text[:place]
        kept = self._beginning(text)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept]

    def flush(self) -> str:
        """The text held back that turned out to begin no stop string."""
        held, self._held = self._held, ""
        return held

    def _beginning(self, text: str) -> int:
        """Length of the longest end of `text` that begins a stop string."""
        longest = max((len(stop) for stop in self._strings), default=1) - 1
        for length in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._strings):
                return length
        return 0
