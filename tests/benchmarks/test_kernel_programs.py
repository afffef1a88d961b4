"""The programs that time kernels call them as they are: every work of theirs runs once."""

import pytest

from benchmarks.kernels import dense, sparse
from sala_compile.codegen.targets.cpu import CpuTarget


@pytest.mark.parametrize("shape", dense.SHAPES[::5], ids=lambda shape: shape.name)
def test_dense(shape: dense.Shape) -> None:
    """Decode and prefill, the ceilings and the reading of pages; a row of each."""
    cases = [dense.Case(shape, 1, 200), dense.Case(shape, 3, 100)]
    kernels = dense.Kernels(CpuTarget.host(), 1, cases)
    ceilings, *rows = dense.rows_of(kernels, cases, dense.measure(kernels, 0.0))
    assert ceilings["ceilings"]["ceiling_read"] > 0
    assert [row["decode"] for row in rows] == [True, False]
    assert all(row["seconds"] > 0 for row in rows)


def test_dense_refuses_an_unknown_shape(capsys: pytest.CaptureFixture[str]) -> None:
    """An empty table would be no answer."""
    with pytest.raises(SystemExit):
        dense.main(["--only", "no such"])
    assert "no shape has 'no such'" in capsys.readouterr().err


def test_sparse() -> None:
    """Selection and attention of every case."""
    kernels = sparse.Kernels(CpuTarget.host(), 1)
    samples = sparse.measure(kernels, 0.0)
    assert samples.keys() == kernels.works.keys()
