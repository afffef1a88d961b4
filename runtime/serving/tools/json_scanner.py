"""Where a JSON value ends, in text that arrives in pieces."""

_SPACE = " \t\r\n"
_CLOSING = {"{": "}", "[": "]"}


class JsonScanner:
    """Follows one value from its first character; what is inside is not checked."""

    def __init__(self) -> None:
        self._closing: list[str] = []
        self._begun = False
        self._string = False
        self._escaped = False
        self.done = False

    def take(self, text: str) -> int:
        """How many characters of `text` belong to the value, space before it included.

        What follows a number, true, false or null does not; of an object, list or text the last
        character does.
        """
        for place, character in enumerate(text):
            if self.done or (not self._inside(character) and self._scalar_ends(character)):
                self.done = True
                return place
            if self.done:
                return place + 1
        return len(text)

    def _inside(self, character: str) -> bool:
        """Whether a character is part of a text, list or object; notes where that ends."""
        if self._string:
            self._string = self._escaped or character != '"'
            self._escaped = character == "\\" and not self._escaped
            self.done = not (self._string or self._closing)
            return True
        if character == '"':
            self._string = self._begun = True
            return True
        if character in _CLOSING:
            self._closing.append(_CLOSING[character])
            self._begun = True
            return True
        if self._closing:
            if character == self._closing[-1]:
                self._closing.pop()
                self.done = not self._closing
            return True
        return False

    def _scalar_ends(self, character: str) -> bool:
        """Whether a character outside of lists and objects comes after the value."""
        ends = character in _SPACE or character in ",}]"
        if not self._begun:
            self._begun = not ends
            return character in ",}]"
        return ends
