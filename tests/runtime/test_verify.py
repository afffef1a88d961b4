"""Golden vectors: what passes, what fails, what is damaged."""

from pathlib import Path

import numpy as np
import pytest

from runtime.artifact import (
    LiteralArgument,
    RandomArgument,
    narrow_bfloat16,
    seeded_values,
    widen_bfloat16,
    write_artifact,
)
from runtime.errors import ArtifactError
from runtime.verify import VectorKind, _literal, compare, verify_artifact
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
    nan, one = np.float32(np.nan), np.ones(3, np.float32)
    assert compare(one, one, absolute=0, relative=0) == (0.0, 0.0)
    assert compare(one * 1.5, one, absolute=0.25, relative=0.5)[1] == -0.25
    expected = np.array([1, nan, 1], np.float32)
    assert compare(np.array([1, 9, 1], "f4"), expected, absolute=0, relative=0) == (0.0, 0.0)
    assert compare(np.array([nan]), np.array([1.0]), absolute=9, relative=9)[1] == np.inf
    assert compare(np.array([np.inf]), np.array([np.inf]), absolute=0, relative=0) == (0.0, 0.0)
    assert compare(np.array([1, 2]), np.array([1, 3]), absolute=0, relative=0) == (1.0, 1.0)


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
    filled = _literal(LiteralArgument(dtype="bfloat16", shape=(2, 2), values=(1.0,)))
    np.testing.assert_array_equal(filled, np.full((2, 2), 0x3F80, np.uint16))
