"""Golden vectors: what passes, what fails, what is damaged."""

from pathlib import Path

import numpy as np
import pytest

from sala_compile.runtime.artifact import (
    narrow_bfloat16,
    seeded_rows,
    widen_bfloat16,
    write_artifact,
)
from sala_compile.runtime.errors import ArtifactError
from sala_compile.runtime.golden.comparison import compare
from sala_compile.runtime.verify import VectorKind, verify_artifact
from tests.support import handmade as support


def test_a_whole_artifact_passes(handmade: Path):
    report = verify_artifact(handmade)
    assert report.passed
    assert [result.kind for result in report.results] == [VectorKind.MODEL, VectorKind.KERNEL]


@pytest.mark.parametrize("threads", [1, 3])
def test_any_number_of_threads_passes(handmade: Path, threads: int):
    assert verify_artifact(handmade, threads=threads).passed


def test_wrong_weights_fail_with_the_difference(tmp_path: Path):
    directory = tmp_path / "a.sala"
    write_artifact(directory, lambda writer: support.fill(writer, bias=0.5))
    report = verify_artifact(directory)
    assert not report.passed
    assert [result.passed for result in report.results] == [False, False]
    for result in report.results:
        assert (result.difference, result.excess) == (0.5, 0.5)


def test_damaged_weights_are_an_error(handmade: Path, tmp_path: Path):
    directory = support.write_handmade(tmp_path / "a.sala")
    path = directory / "weights-00001.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match="SHA-256"):
        verify_artifact(directory)


def test_comparison_counts_what_is_missing():
    one = np.ones(3, np.float32)

    def held(found, expected, **options):
        compared = compare(np.asarray(found, "f4"), np.asarray(expected, "f4"), **options)
        return compared.difference, compared.excess

    exact = {"absolute": 0.0, "relative": 0.0}
    assert held(one, one, **exact) == (0.0, 0.0)
    assert held(one * 1.5, one, absolute=0.25, relative=0.5)[1] == -0.25
    assert held([1, 2], [1, 3], **exact) == (1.0, 1.0)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_never_held(wrong: float):
    for found, expected in (([wrong], [1.0]), ([1.0], [wrong]), ([wrong], [wrong])):
        compared = compare(np.array(found), np.array(expected), absolute=1e30, relative=1e30)
        assert compared.excess == np.inf
        assert compared.problem is not None
    nothing = np.zeros(0)
    compared = compare(nothing, nothing, absolute=9, relative=9)
    assert compared.problem == "no value is compared"


def test_drawn_states_are_the_same_everywhere():
    values = seeded_rows(7, "layers.0.kv_cache.k", 1, (2, 2, 3), narrow=False)
    assert values.dtype == np.float32
    expected = [-0.6322861313819885, -1.4041332006454468, -1.3832449913024902]
    np.testing.assert_array_equal(values.reshape(-1)[:3], np.array(expected, np.float32))
    many = seeded_rows(7, "layers.0.kv_cache.k", 1, (1000, 100), narrow=True)
    assert (widen_bfloat16(narrow_bfloat16(many)) == many).all()
    assert many.mean() == pytest.approx(0, abs=0.02)
    assert many.std() == pytest.approx(1, abs=0.02)
    others = [
        (8, "layers.0.kv_cache.k", 1),
        (7, "layers.0.kv_cache.v", 1),
        (7, "layers.0.kv_cache.k", 2),
    ]
    for other in others:
        assert (seeded_rows(*other, (1000, 100), narrow=True) != many).any()


def test_bfloat16_rounds_to_even():
    values = np.array([1.0, 1.00390625, 1.01171875, -0.0, np.inf, np.nan], np.float32)
    found = widen_bfloat16(narrow_bfloat16(values))
    np.testing.assert_array_equal(found, np.array([1, 1, 1.015625, -0.0, np.inf, np.nan], "f4"))
