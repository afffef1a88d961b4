"""The dense peer of the GPU benchmarks: chunks give what one call gives."""

from pathlib import Path

import pytest
import torch

from benchmarks.gpu.budget import Budget, Stopped
from benchmarks.gpu.dense import DenseModel, DenseShape, measure
from benchmarks.gpu.results import Document

SHAPE = DenseShape(
    hidden=64, intermediate=96, layers=2, heads=4, kv_heads=2, head_dim=16, vocabulary=50
)


def model(capacity: int = 40) -> DenseModel:
    return DenseModel(SHAPE, capacity, "cpu", torch.float32)


@pytest.mark.parametrize("chunk", [1, 7, 36])
def test_chunks_agree_with_one_call(chunk: int) -> None:
    whole, pieces = model(), model()
    ids = torch.randint(0, SHAPE.vocabulary, (37,), generator=torch.Generator().manual_seed(3))
    expected = whole.forward(ids)
    for start in range(0, len(ids), chunk):
        found = pieces.forward(ids[start : start + chunk])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


class Clock:
    """Every look at it takes a hundredth of a second, as a call of a model does."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.01
        return self.now


def test_a_row_for_every_mark_that_fits_and_the_others_in_another_call(tmp_path: Path) -> None:
    marks = [8, 16, 32]
    with pytest.raises(Stopped):
        measure(model(), Document(tmp_path, "dense"), Budget(0.1, Clock()), marks, 8, steps=3)
    first = Document(tmp_path, "dense").rows
    assert [row["tokens"] for row in first] == [8]
    measure(model(), Document(tmp_path, "dense"), Budget(1e9, Clock()), marks, 8, steps=3)
    rows = Document(tmp_path, "dense").rows
    assert rows[0] == first[0]
    assert [row["tokens"] for row in rows] == marks
    assert [row["prefill_seconds"] for row in rows] == pytest.approx([0.01, 0.02, 0.04])
    assert all(row["decode_seconds"] == pytest.approx(0.01) for row in rows)
