"""What the model learns from: texts full of needles and questions, and texts that repeat."""

from dataclasses import dataclass
from enum import Enum

import numpy as np

from examples.needle.haystack import (
    END,
    Needle,
    Pieces,
    Stream,
    draw_needles,
    fill,
    link,
    token_ids,
)
from examples.needle.tokenizer import BOS, SPECIAL, vocabulary

PROSE_WEIGHT = 0.05
"""Weight in the loss of a token that is no answer, where an answer's is 1."""

_BYTES = 256

_Columns = tuple[list[int], list[float], list[bool], list[int]]
"""Of each token after `<s>`: its id, its weight, whether it answers, and its source."""


class Lesson(Enum):
    """What one text teaches."""

    NEEDLES = "needles"
    COPYING = "copying"


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the curriculum: `batch` texts of `length` tokens a step.

    It ends when the share of right answer tokens, averaged over some fifty steps, reaches
    `enough`, or after `steps`. `copying` is the share of texts that repeat themselves; `links`
    needles of a text lead to others; `selection` weighs the loss of block selection. The
    learning rate goes from `rate` to `last_rate`.
    """

    length: int
    batch: int
    steps: int
    needles: int
    questions: int
    rate: float
    enough: float = 2.0
    copying: float = 0.0
    links: int = 0
    selection: float = 0.0
    last_rate: float | None = None


@dataclass(frozen=True, slots=True)
class LessonBatch:
    """Token ids [batch, length + 1], and of each next token [batch, length]: its weight in the
    loss, whether it answers, and the position of the needle's token that it repeats, or -1."""

    tokens: np.ndarray
    weights: np.ndarray
    is_value: np.ndarray
    sources: np.ndarray


def draw_batch(seed: int, stage_index: int, step: int, stage: Stage) -> LessonBatch:
    """Return the texts of a step; the same arguments give the same texts."""
    generator = np.random.default_rng([Stream.TRAINING, seed, stage_index, step])
    texts = [_draw_text(generator, stage) for _ in range(stage.batch)]
    return LessonBatch(*(np.stack(parts) for parts in zip(*texts, strict=True)))


def _draw_text(generator: np.random.Generator, stage: Stage) -> tuple[np.ndarray, ...]:
    is_copying = generator.random() < stage.copying
    pieces = _repeated(generator, stage) if is_copying else _questioned(generator, stage)
    ids = np.array([BOS, *pieces[0]], np.int64)
    weights = np.array(pieces[1], np.float32)
    is_value = np.array(pieces[2], bool)
    return ids, weights, is_value, np.array(pieces[3], np.int64)


def _repeated(generator: np.random.Generator, stage: Stage) -> _Columns:
    """A random word sequence, over and over: the repetitions can be known."""
    first = len(SPECIAL) + _BYTES
    total = stage.length
    period = int(generator.integers(8, min(total // 2, 64)))
    words = generator.choice(np.arange(first, len(vocabulary())), period, replace=False)
    ids = np.resize(words, total).tolist()
    known = [index >= period for index in range(total)]
    return ids, [1.0 if value else 0.0 for value in known], known, [-1] * total


def _questioned(generator: np.random.Generator, stage: Stage) -> _Columns:
    """Needles in a haystack, then questions about some of them, each with its answer."""
    needles = draw_needles(generator, stage.needles, numbers=0.8)
    needles += link(generator, needles, stage.links)
    asked = [needles[int(i)] for i in generator.permutation(len(needles))[: stage.questions]]
    turns = [_turn(needle) for needle in asked]
    room = stage.length - sum(len(ids) for ids, _ in turns)
    room -= sum(len(needle.sentence) for needle in needles)
    assert room >= 0, "the needles and questions of a stage do not fit"
    sentences: list[Pieces] = list(fill(generator, room))
    for needle in needles:
        sentences.insert(int(generator.integers(len(sentences) + 1)), needle.sentence)
    starts = dict(zip(map(tuple, sentences), _starts(sentences), strict=True))
    prose = token_ids([piece for sentence in sentences for piece in sentence])
    ids, weights = list(prose), [PROSE_WEIGHT] * len(prose)
    is_value, sources = [False] * len(prose), [-1] * len(prose)
    for needle, (turn, answer) in zip(asked, turns, strict=True):
        sources += [*[-1] * len(needle.question), *_sources(needle, starts), -1, -1]
        ids += turn
        weights += [1.0 if index in answer else PROSE_WEIGHT for index in range(len(turn))]
        is_value += [index in answer[:-2] for index in range(len(turn))]
    return ids, weights, is_value, sources


def _starts(sentences: list[Pieces]) -> list[int]:
    """The position of every sentence's first token, behind `<s>`."""
    return (1 + np.cumsum([0, *map(len, sentences)]))[:-1].tolist()


def _sources(needle: Needle, starts: dict[Pieces, int]) -> list[int]:
    """Where the values of an answer stand in the text, -1 for its other tokens."""
    first = starts[needle.sentence] + len(needle.claim)
    own = list(range(first, first + len(needle.value)))
    if needle.other is None:
        return own
    return [*own, *[-1] * (1 + len(needle.other.claim)), *_sources(needle.other, starts)]


def _turn(needle: Needle) -> tuple[list[int], range]:
    """A question with its answer, and which of its tokens the answer is, the end included."""
    ids = token_ids([*needle.question, *needle.answer, ".", END])
    return ids, range(len(needle.question), len(ids))
