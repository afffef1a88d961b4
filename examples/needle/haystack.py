"""Generated texts that hide needles: sentences to remember among sentences that do not matter.

A text is a list of pieces, each one token of the example's tokenizer. Everything is drawn from a
seed; training and evaluation draw from streams that never meet.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from examples.needle import words
from examples.needle.tokenizer import BOS, EOS, byte_spelling, vocabulary

Pieces = tuple[str, ...]
END = "</s>"


class Stream(IntEnum):
    """Whose random numbers: the two never share a text."""

    TRAINING = 0
    EVALUATION = 1


class Kind(IntEnum):
    """What a needle tells of an animal."""

    PASS_KEY = 0
    COLOUR = 1
    HOME = 2


_KIND_WORDS: dict[Kind, Pieces] = {
    Kind.PASS_KEY: (" pass", " key"),
    Kind.COLOUR: (" colour",),
    Kind.HOME: (" home",),
}


@dataclass(frozen=True, slots=True)
class Needle:
    """One fact: its animal and what the text says of it.

    Where `other` is given, the value names the animal of that needle, whose pass key it shares.
    """

    kind: Kind
    animal: str
    value: Pieces
    other: "Needle | None" = None

    @property
    def claim(self) -> Pieces:
        """The beginning of the sentence, up to the value."""
        return (" The", *_KIND_WORDS[self.kind], " of", f" {self.animal}", " is")

    @property
    def sentence(self) -> Pieces:
        """The sentence that hides in the text."""
        return (*self.claim, *self.value, ".")

    @property
    def question(self) -> Pieces:
        """What asks for the value."""
        return (" Answer", ":", *self.claim)

    @property
    def answer(self) -> Pieces:
        """The value; behind a value that names another animal, what is said of that one."""
        if self.other is None:
            return self.value
        return (*self.value, ".", *self.other.claim, *self.other.answer)


@dataclass(frozen=True, slots=True)
class Case:
    """A text that ends in one question.

    `needle_start` and `needle_stop` are the token positions of the sentence that was asked for,
    `<s>` counted; `value_start` is that of the value in it. `depth` is the share of the text's
    other tokens that stand before it.
    """

    token_ids: tuple[int, ...]
    text: str
    answer: str
    answer_ids: tuple[int, ...]
    needle_start: int
    needle_stop: int
    value_start: int
    depth: float


def token_ids(pieces: Pieces | list[str]) -> list[int]:
    """Return the token of every piece."""
    table = vocabulary()
    return [EOS[0] if piece == END else table[byte_spelling(piece)] for piece in pieces]


def draw_needles(generator: np.random.Generator, count: int, *, numbers: float) -> list[Needle]:
    """Return needles that differ in animal or kind; a share `numbers` of them are pass keys."""
    found: dict[tuple[Kind, str], Needle] = {}
    while len(found) < count:
        is_number = generator.random() < numbers
        kind = Kind.PASS_KEY if is_number else Kind(int(generator.integers(1, 3)))
        animal = _pick(generator, words.ANIMALS)
        found[kind, animal] = Needle(kind, animal, _draw_value(generator, kind))
    return list(found.values())


def link(generator: np.random.Generator, needles: list[Needle], count: int) -> list[Needle]:
    """Return `count` needles that say their animal has the pass key of one in `needles`.

    Some of them lead to others of them, so that chains can be longer than two.
    """
    ends = [needle for needle in needles if needle.kind is Kind.PASS_KEY]
    taken = {needle.animal for needle in ends}
    free = [animal for animal in words.ANIMALS if animal not in taken]
    links: list[Needle] = []
    for animal in generator.permutation(free)[: count if ends else 0]:
        known = [*ends, *links]
        other = known[int(generator.integers(len(known)))]
        value = (" that", " of", f" {other.animal}")
        links.append(Needle(Kind.PASS_KEY, str(animal), value, other))
    return links


def draw_filler(generator: np.random.Generator) -> Pieces:
    """Return one sentence of the haystack."""
    shape = int(generator.integers(len(_SHAPES)))
    return tuple(
        piece if not piece.isupper() or len(piece) < 3 else f" {_pick(generator, _CLASSES[piece])}"
        for piece in _SHAPES[shape]
    )


def fill(generator: np.random.Generator, count: int) -> Iterator[Pieces]:
    """Yield sentences of `count` tokens in all; the last one is cut to fit."""
    while count > 0:
        sentence = draw_filler(generator)[-count:]
        count -= len(sentence)
        yield sentence


def draw_case(
    seed: int, index: int, *, length: int, depth: float, decoys: int = 3, hops: int = 1
) -> Case:
    """Return case `index` of a seed: `length` tokens, a needle near `depth`, and decoys.

    Decoys are pass keys of other animals at random places. With two hops the needle names one of
    them, with more it names a needle that does so in one hop less.
    """
    generator = np.random.default_rng([Stream.EVALUATION, seed, index, length])
    needle, *others = draw_needles(generator, 1 + decoys, numbers=1.0)
    for _ in range(hops - 1):
        others.append(needle)
        free = [x for x in words.ANIMALS if x not in {other.animal for other in others}]
        value = (" that", " of", f" {needle.animal}")
        needle = Needle(Kind.PASS_KEY, _pick(generator, tuple(free)), value, needle)
    room = length - 1 - len(needle.question) - sum(len(x.sentence) for x in (needle, *others))
    sentences = list(fill(generator, room))
    for other in others:
        sentences.insert(int(generator.integers(len(sentences) + 1)), other.sentence)
    place = _sentence_at(sentences, depth * sum(map(len, sentences)))
    start = 1 + sum(map(len, sentences[:place]))
    reached = (start - 1) / sum(map(len, sentences))
    sentences.insert(place, needle.sentence)
    pieces = [piece for sentence in (*sentences, needle.question) for piece in sentence]
    return Case(
        (BOS, *token_ids(pieces)),
        "".join(pieces),
        "".join(needle.answer).strip(),
        tuple(token_ids(needle.answer)),
        needle_start=start,
        needle_stop=start + len(needle.sentence),
        value_start=start + len(needle.claim),
        depth=reached,
    )


def _sentence_at(sentences: list[Pieces], tokens: float) -> int:
    """The sentence that begins nearest behind `tokens` tokens."""
    starts = np.cumsum([0, *map(len, sentences)])
    return int(np.argmin(np.abs(starts - tokens)))


def _draw_value(generator: np.random.Generator, kind: Kind) -> Pieces:
    if kind is Kind.COLOUR:
        return (f" {_pick(generator, words.COLOURS)}",)
    if kind is Kind.HOME:
        return (f" {_pick(generator, words.CITIES)}",)
    first, second = (_pick(generator, words.NUMBERS) for _ in range(2))
    return (f" {first}", second)


def _pick(generator: np.random.Generator, choices: tuple[str, ...]) -> str:
    return choices[int(generator.integers(len(choices)))]


_CLASSES = {
    "PERSON": words.PEOPLE,
    "ADJECTIVE": words.ADJECTIVES,
    "THING": words.THINGS,
    "PLACE": words.PLACES,
    "VERB": words.VERBS,
    "TIME": words.TIMES,
}

_SHAPES: tuple[Pieces, ...] = (
    (" The", "ADJECTIVE", "PERSON", "VERB", " a", "THING", " near", " the", "PLACE", "."),
    (" The", "PERSON", " and", " the", "PERSON", " walked", " to", " the", "PLACE", "."),
    (" A", "THING", " was", " under", " the", "ADJECTIVE", "THING", "."),
    (" In", " the", "TIME", " the", "PERSON", "VERB", " every", "THING", "."),
    (" The", "PLACE", " was", "ADJECTIVE", " and", "ADJECTIVE", "."),
    (" The", "PERSON", " talked", " about", " the", "THING", " all", " day", " long", "."),
    (" The", " rain", " fell", " on", " the", "ADJECTIVE", "PLACE", "."),
    (" The", " wind", " blew", " over", " the", "PLACE", " again", "."),
    (" The", "PERSON", " slept", " while", " the", "PERSON", "VERB", " the", "THING", "."),
    (" There", " was", " a", "ADJECTIVE", "THING", " in", " the", "PLACE", "."),
)
