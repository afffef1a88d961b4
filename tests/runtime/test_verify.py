"""Golden vectors: what passes, what fails, what is damaged."""

from pathlib import Path

import numpy as np
import pytest

from sala_compile.runtime.artifact import (
    LiteralArgument,
    RandomArgument,
    narrow_bfloat16,
    seeded_values,
    widen_bfloat16,
    write_artifact,
)
from sala_compile.runtime.errors import ArtifactError
from sala_compile.runtime.golden.golden_values import literal_values
from sala_compile.runtime.verify import VectorKind, compare, verify_artifact
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
    assert [result.passed for result in report.results] == [False, True]
    assert (report.results[0].difference, report.results[0].excess) == (0.5, 0.5)


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
    free = np.array([False, True, False])
    assert held([1, 9, 1], [1, np.nan, 1], free=free, **exact) == (0.0, 0.0)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_never_held(wrong: float):
    for found, expected in (([wrong], [1.0]), ([1.0], [wrong]), ([wrong], [wrong])):
        compared = compare(np.array(found), np.array(expected), absolute=1e30, relative=1e30)
        assert compared.excess == np.inf
        assert compared.problem is not None
    free = np.array([True])
    compared = compare(np.array([1.0]), np.array([wrong]), absolute=9, relative=9, free=free)
    assert compared.problem == "no value is compared"


def test_seeded_values_are_the_same_everywhere():
    values = seeded_values(RandomArgument(seed=7, dtype="float32", shape=(3,), low=0, high=1))
    assert values.dtype == np.float32
    assert values.tolist() == pytest.approx([0.0, 0.0, 0.0], abs=1)
    again = seeded_values(RandomArgument(seed=7, dtype="float32", shape=(3,), low=0, high=1))
    assert values.tobytes() == again.tobytes()
    whole = seeded_values(RandomArgument(seed=7, dtype="int32", shape=(50,), low=-3, high=4))
    assert set(whole.tolist()) == set(range(-3, 4))


def test_bfloat16_rounds_to_even():
    values = np.array([1.0, 1.00390625, 1.01171875, -0.0, np.inf, np.nan], np.float32)
    found = widen_bfloat16(narrow_bfloat16(values))
    np.testing.assert_array_equal(found, np.array([1, 1, 1.015625, -0.0, np.inf, np.nan], "f4"))


def test_one_literal_fills_a_shape():
    filled = literal_values(LiteralArgument(dtype="bfloat16", shape=(2, 2), values=(1.0,)))
    np.testing.assert_array_equal(filled, np.full((2, 2), 0x3F80, np.uint16))
