"""The comparison with ggml: what is multiplied, which layout counts, and no ggml at all."""

from pathlib import Path

import pytest

from benchmarks.gpu.sizes import Sizes
from benchmarks.kernels.ggml_backend import TYPES
from benchmarks.kernels.ggml_library import find_libraries
from benchmarks.kernels.layer_stacks import KINDS, ROWS, Kind, matrices, work_name
from benchmarks.kernels.linear_ggml_report import comparisons
from sala_compile.runtime.common.timing import Sample
from sala_compile.runtime.errors import RequestError


def test_all_layers_have_the_matrices_of_the_released_model() -> None:
    layers = Sizes.released().lightning_layers + Sizes.released().sparse_layers
    assert sum(columns * depth for columns, depth in matrices(layers)) == (
        Sizes.released().linear_weights
    )


@pytest.mark.parametrize("kinds", KINDS.values(), ids=list(KINDS))
def test_the_fastest_layout_of_the_peer_counts(kinds: tuple[Kind, ...]) -> None:
    samples = {}
    for work in ROWS:
        for kind in kinds:
            samples["own", work_name(work, kind.name)] = [Sample(2.0, 0.0)]
            for peer in kind.peers:
                assert peer in TYPES
                slow, fast = f"{work_name(work, peer)} plain", f"{work_name(work, peer)} repacked"
                samples["ggml", slow] = [Sample(5.0, 0.0)]
                samples["ggml", fast] = [Sample(3.0, 0.0), Sample(9.0, 0.5)]
    rows = comparisons(samples, 1, kinds)
    assert len(rows) == len(ROWS) * sum(len(kind.peers) for kind in kinds)
    for row in rows:
        assert (row["peer_layout"], row["ratio"]) == ("repacked", 1.5)
        assert (row["peer_clean_samples"], row["peer_samples"]) == (1, 2)


@pytest.mark.parametrize("where", ["missing/folder", "no_such_package", "json"])
def test_without_ggml_it_says_how_to_get_it(where: str) -> None:
    with pytest.raises(RequestError, match="pip install llama-cpp-python"):
        find_libraries(where)


def test_the_libraries_of_a_folder_are_found(tmp_path: Path) -> None:
    for name in ("libggml-base.so.0", "libggml-cpu.so"):
        (tmp_path / name).touch()
    assert [path.name for path in find_libraries(str(tmp_path))] == [
        "libggml-base.so.0",
        "libggml-cpu.so",
    ]
