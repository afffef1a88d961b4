"""The words of the generated texts; each is one token of the example's tokenizer."""

import re
from pathlib import Path

_SECTIONS = re.split(r"\[(\w+)\]", Path(__file__).with_name("words.txt").read_text("utf-8"))[1:]
_WORDS = {
    name: tuple(text.split()) for name, text in zip(_SECTIONS[::2], _SECTIONS[1::2], strict=True)
}

ANIMALS = _WORDS["animals"]
"""What has a pass key, a colour and a home: the keys of needles."""

COLOURS, CITIES = _WORDS["colours"], _WORDS["cities"]
"""The values of needles that are no numbers."""

NUMBERS = tuple(f"{value:02d}" for value in range(100))
"""Pass keys are two of these, written together."""

PEOPLE, ADJECTIVES, THINGS = _WORDS["people"], _WORDS["adjectives"], _WORDS["things"]
PLACES, VERBS, TIMES = _WORDS["places"], _WORDS["verbs"], _WORDS["times"]


def spelled_words() -> tuple[str, ...]:
    """Every token that is a word or a number, as it stands in a text, each once."""
    words = (word for section in _WORDS.values() for word in section)
    spaced = [f" {word}" for word in (*words, *NUMBERS)]
    return tuple(dict.fromkeys((*spaced, *NUMBERS)))
