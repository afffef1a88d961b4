"""What the quality table is made of: questions, measures of a text, the page."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from benchmarks.answers.measure_text import KEPT, measure_text
from benchmarks.answers.quality_models import MODELS, SAVINGS
from benchmarks.answers.quality_report import markdown
from benchmarks.answers.questions import TASKS, Score, Task
from sala_compile.runtime.model import Model


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_answers_are_in_the_text_at_their_depth(task: Task):
    for each in task.texts(3000, 4):
        assert len(each.questions) == (task.links or task.keys)
        for question in each.questions:
            claim = question.text.removeprefix(" Answer:")
            sentence = claim + question.answer.partition(".")[0] + "."
            assert each.text.count(claim.strip() + " ") == 1
            place = each.text.index(sentence.strip())
            assert abs(place / len(each.text) - question.depth) < 0.06
            # A chain ends in a key that the text gives to the last name.
            last = question.answer.rpartition("The pass key of")[2].strip()
            assert not task.links or f"The pass key of {last}." in each.text
            assert question.answer[-4:].isdigit()


def test_one_needle_goes_through_all_depths():
    depths = [each.questions[0].depth for each in TASKS[0].texts(1000, 5)]
    assert depths == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9])
    score = Score.empty()
    for depth in depths:
        score.add(depth, depth < 0.5)
    assert score == Score([1, 1, 0, 0, 0], [1, 1, 1, 1, 1])


class Given:
    """A model with given logits."""

    def __init__(self, logits: np.ndarray) -> None:
        self.rows = logits

    def logits(self, ids: list[int]) -> np.ndarray:
        return self.rows[: len(ids)]


def test_a_text_is_measured(tmp_path: Path):
    """Against sums by hand: the loss of all, the divergence and other tokens of the kept ones."""
    random = np.random.default_rng(3)
    ids = random.integers(0, 11, 150).tolist()
    rows = random.standard_normal((2, 150, 11)).astype(np.float32)
    near = [rows[0], rows[0] + 0.5 * rows[1]]
    kept = tmp_path / "kept.npy"
    first, second = (measure_text(cast("Model", Given(each)), ids, kept) for each in near)
    chances = [np.exp(x.astype(float)) for x in near]
    chances = [x / x.sum(axis=1, keepdims=True) for x in chances]
    for found, p in zip((first, second), chances, strict=True):
        losses = [-np.log(p[place, ids[place + 1]]) for place in range(149)]
        assert found.tokens == 149
        assert found.loss == pytest.approx(np.mean(losses))
    p, q = (each[:149:KEPT] for each in chances)
    assert abs(first.divergence) < 1e-6
    assert first.others == 0
    assert second.divergence == pytest.approx((p * np.log(p / q)).sum(axis=1).mean(), rel=1e-4)
    assert second.others == np.mean(p.argmax(axis=1) != q.argmax(axis=1)) > 0


def test_the_page_has_what_was_measured_and_no_more():
    texts = {"one": {"tokens": 3, "loss": 2.0, "divergence": 0.01, "others": 0.25}}
    score = {"right": [1, 0, 0, 0, 1], "asked": [1] * 5}
    model, saving = MODELS[0], next(iter(SAVINGS))
    rows = {
        f"{saving}, predictions": {"texts": texts},
        f"{saving}, answers at {model.lengths[0]}": {task.name: score for task in TASKS},
    }
    document: dict[str, Any] = {
        **{"date": "today", "processor": "P", "cpus": 2, "threads": 2, "real_time": False},
        **{"versions": {}, "rows": {model.name: rows}},
        "asked": {"texts": [["one", "a book", "ab12"]], "tokens": 3, "seed": 1},
    }
    page = markdown(document)
    assert f"| {saving} | 7.389 | 10 | 25.0% | 2/5 |  | 2/5 |  | 2/5 |  |" in page
    assert f"| {saving} | 2/2 | 0/2 | 0/2 | 0/2 | 2/2 |" in page
    assert "one (a book, ab12)" in page
    assert f"## {MODELS[1].name}" not in page
