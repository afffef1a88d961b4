"""The dense peer of the GPU benchmarks: chunks give what one call gives."""

import pytest
import torch

from benchmarks.gpu.dense import DenseModel, DenseShape, measure

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


def test_a_row_for_every_mark_and_none_beyond_the_limit() -> None:
    rows = measure(model(), [8, 16, 32], 8, steps=3, limit=1e9)
    assert [row["tokens"] for row in rows] == [8, 16, 32]
    assert all(row["decode_seconds"] > 0 for row in rows)
    assert rows[0]["prefill_seconds"] < rows[2]["prefill_seconds"]
    assert len(measure(model(), [8, 16, 32], 8, steps=1, limit=0.0)) == 1
