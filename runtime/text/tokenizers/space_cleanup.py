"""Spaces that `clean_up_tokenization_spaces` takes out of a decoded text, in a stream too."""

_CHANGES = (
    *((f" {mark}", mark) for mark in (".", "?", "!", ",")),
    (" ' ", "'"),
    *((f" {word}", word) for word in ("n't", "'m", "'s", "'ve", "'re")),
)


def clean_spaces(text: str) -> str:
    """`text` without the spaces before punctuation and English contractions."""
    for found, kept in _CHANGES:
        text = text.replace(found, kept)
    return text


class SpaceCleaner:
    """Passes text on as it comes, cleaned; what later text may still change waits."""

    def __init__(self) -> None:
        """Begin at the beginning of a text."""
        self._raw = ""  # from the last place on that no change can span
        self._shown = 0  # characters of it, cleaned, that were passed on

    def begin_answer(self) -> None:
        """Treat what came so far as shown."""
        self._shown = len(clean_spaces(self._raw))

    def push(self, piece: str) -> str:
        """The text that is certain after `piece`."""
        self._raw += piece
        cut = self._cut()
        if cut == 0:
            return ""
        done = clean_spaces(self._raw[:cut])
        text = done[self._shown :]
        self._raw, self._shown = self._raw[cut:], max(0, self._shown - len(done))
        return text

    def flush(self) -> str:
        """The rest."""
        text = clean_spaces(self._raw)[self._shown :]
        self._raw, self._shown = "", 0
        return text

    def _cut(self) -> int:
        """The last place before a space where no change spans: they all begin with one."""
        place = self._raw.rfind(" ")
        while place > 0 and (
            self._raw[place - 1] == " " or self._raw[max(0, place - 2) : place] in (" '", "'")
        ):
            place = self._raw.rfind(" ", 0, place)
        return max(place, 0)
