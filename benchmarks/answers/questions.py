"""Long texts with questions on them, drawn from a seed: needles, many keys, chains of variables.

The sentences are those of `examples.needle`, which a model of any tokenizer reads as plain text.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from examples.needle.haystack import Needle, draw_needles, fill, link
from sala_compile.runtime.model import Model

SEED = 18
DEPTHS = 5
"""Parts of a text that are told apart."""


@dataclass(frozen=True, slots=True)
class Question:
    """What continues a text, the right answer, and where in the text it is, from 0 to 1."""

    text: str
    answer: str
    depth: float


@dataclass(frozen=True, slots=True)
class QuestionedText:
    """A text, and questions on it that know nothing of each other."""

    text: str
    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class Task:
    """A kind of questions; `hops` needles lead to each value, 1 where it is its own."""

    name: str
    keys: int
    links: int = 0

    def texts(self, tokens: int, count: int) -> Iterator[QuestionedText]:
        """`count` texts of some `tokens` words and marks; equal arguments give equal texts."""
        for index in range(count):
            yield self._draw(tokens, index, count)

    def _draw(self, tokens: int, index: int, count: int) -> QuestionedText:
        generator = np.random.default_rng([SEED, self.keys, self.links, tokens, index])
        keys = draw_needles(generator, self.keys, numbers=1.0)
        links = link(generator, keys, self.links)
        needles = [*keys, *links]
        room = tokens - sum(len(needle.sentence) for needle in needles)
        sentences = ["".join(each) for each in fill(generator, room)]
        depths = [(place + (index + 0.5) / count) / len(needles) for place in range(len(needles))]
        order = generator.permutation(len(needles))
        placed = sorted(zip(depths, order, strict=True), reverse=True)
        for depth, number in placed:  # from the end, so that earlier places stay
            place = int(depth * len(sentences))
            sentences.insert(place, "".join(needles[number].sentence))
        asked = links or keys
        where = {int(number): depth for depth, number in placed}
        first = len(needles) - len(asked)
        found = [_question(each, where[first + n]) for n, each in enumerate(asked)]
        return QuestionedText("".join(sentences).lstrip(), tuple(found))


TASKS = (Task("needle", 1), Task("16 keys", 16), Task("variables", 4, 4))
"""One key alone at each depth; many keys, each asked for; variables that name other variables."""


@dataclass(slots=True)
class Score:
    """Right answers and all answers, in each of the `DEPTHS` parts of a text."""

    right: list[int]
    asked: list[int]

    @staticmethod
    def empty() -> "Score":
        """Nothing asked yet."""
        return Score([0] * DEPTHS, [0] * DEPTHS)

    def add(self, depth: float, is_right: bool) -> None:
        """Note an answer."""
        part = min(int(depth * DEPTHS), DEPTHS - 1)
        self.right[part] += is_right
        self.asked[part] += 1


def ask(model: Model, texts: Sequence[QuestionedText] | Iterator[QuestionedText]) -> Score:
    """Greedy answers to all questions; an answer is right if its tokens are those of the value.

    A text is read once, each question continues a fork of it. The model has room for two sequences.
    """
    score = Score.empty()
    for each in texts:
        with model.sequence() as sequence:
            sequence.append(model.tokenizer.encode(each.text))
            for question in each.questions:
                ids = model.tokenizer.encode(question.text, special=False)
                wanted = model.tokenizer.encode(question.answer, special=False)
                options = model.generation_options(
                    len(wanted), ignore_eos=True, defaults="none", temperature=0.0
                )
                with (
                    sequence.fork() as fork,
                    model.generation(ids, options, sequence=fork) as answer,
                ):
                    score.add(question.depth, list(answer.tokens()) == wanted)
    return score


def _question(needle: Needle, depth: float) -> Question:
    return Question("".join(needle.question), "".join(needle.answer), depth)
