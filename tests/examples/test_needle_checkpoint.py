"""The trained checkpoint: it is small, whole, and finds needles in both regimes."""

import json

import numpy as np
import pytest

from examples.needle.configuration import config
from examples.needle.evaluate import CHECKPOINT
from examples.needle.haystack import draw_case
from examples.needle.measure import accuracy, ask_reference, by_depth, draw_cases, measure
from examples.needle.tokenizer import build_tokenizer
from sala_compile.runtime.text.tokenizer import Tokenizer
from tests.support.checkpoints import reference_model

BLOCK = config()["sparse_config"]["block_size"]


def test_checkpoint_is_what_the_sources_say():
    stored = json.loads((CHECKPOINT / "config.json").read_text(encoding="utf-8"))
    assert stored == config()
    tokenizer = Tokenizer.from_files(CHECKPOINT)
    assert tokenizer.core.to_str() == build_tokenizer().to_str()
    size = sum(path.stat().st_size for path in CHECKPOINT.iterdir())
    assert size <= 16 * 2**20


@pytest.mark.parametrize(("length", "read"), [(300, 1.0), (600, 16 / 38)])
def test_reference_finds_needles(length, read):
    """In the dense regime and in the sparse one, on cases that no training saw."""
    model = reference_model(CHECKPOINT, dtype=np.float32)
    outcomes = list(measure(ask_reference(model), draw_cases(11, length, 4), BLOCK))
    assert accuracy(outcomes) == 1.0
    assert [x.read for x in outcomes] == pytest.approx([read] * 4)
    assert len(by_depth(outcomes)) == 10


def test_reference_ends_its_answer():
    model = reference_model(CHECKPOINT, dtype=np.float32)
    case = draw_case(12, 0, length=400, depth=0.5)
    ids, _ = model.greedy(case.token_ids, 4)
    text = build_tokenizer().decode(ids, skip_special_tokens=False)
    assert text == f" {case.answer}.</s>"
