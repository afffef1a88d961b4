"""Rounding, rotary embedding, norms, gates, linear layers and weights of the reference."""

import ml_dtypes
import numpy as np
import pytest

from sala_compile.sala_ir import reference
from sala_compile.sala_ir.frontends.kit.rotary import inverse_frequencies
from sala_compile.sala_ir.reference.gates import sigmoid


def test_rounding_to_bfloat16_is_to_nearest_even():
    values = np.asarray([0.0, -0.0, 1.00390625, 1.01171875, 3.3e38, 1e-40, -2.5, 1 / 3])
    expected = values.astype(np.float32).astype(ml_dtypes.bfloat16).astype(np.float64)
    rounded = reference.to_bfloat16(values)
    np.testing.assert_array_equal(rounded, expected)
    assert rounded.dtype == np.float64
    assert rounded[2] == 1.0
    assert rounded[3] == 1.015625


def test_rounding_to_float32_keeps_the_array_type():
    values = np.asarray([1 / 3])
    assert reference.to_float32(values)[0] == np.float64(np.float32(1 / 3))
    assert reference.exact(values) is values


def test_rotation_turns_pairs_by_their_angle():
    batch = reference.make_batch([0, 2, 3], [3, 0], [5, 1], [0, 1])
    table = reference.rope_table(batch, frequencies=inverse_frequencies(100.0, 6))
    x = np.random.default_rng(0).standard_normal((3, 12))
    rotated = reference.rope(x, table, head_dim=6).reshape(3, 2, 2, 3)
    pairs = x.reshape(3, 2, 2, 3)
    turned = pairs[:, :, 0] + 1j * pairs[:, :, 1]
    angles = np.asarray([3, 4, 0])[:, None, None] * 100.0 ** (-np.arange(0, 6, 2) / 6)
    turned = turned * np.exp(1j * angles)
    np.testing.assert_allclose(rotated[:, :, 0], turned.real, atol=1e-6)
    np.testing.assert_allclose(rotated[:, :, 1], turned.imag, atol=1e-6)


def test_angles_are_float32_products():
    batch = reference.make_batch([0, 1], [500_000], [500_001], [0])
    table = reference.rope_table(batch, frequencies=inverse_frequencies(10000.0, 8))
    angle = np.float32(500_000) * inverse_frequencies(10000.0, 8)
    assert table.dtype == np.float32
    np.testing.assert_array_equal(table[0, :4], np.cos(angle.astype(np.float64)).astype(np.float32))


def test_frequencies_follow_the_length_of_the_whole_call():
    """Three ranges that begin at 0, 5 and 9; the factor multiplies the rounded cosine and sine."""
    batch = reference.make_batch([0, 2, 3, 3, 4], [3, 4, 0, 0], [8, 9, 5, 4], [0, 1, 2, 3])
    rows = np.asarray([[1.0, 0.5], [0.25, 0.125], [2.0, 3.0]], np.float32)
    table = reference.rope_table(
        batch, frequencies=rows.ravel().tolist(), factor=1.25, starts=(0, 5, 9)
    )
    chosen = rows[[1, 1, 2, 0]]
    angles = (np.asarray([3, 4, 4, 0], np.float32)[:, None] * chosen).astype(np.float64)
    expected = np.concatenate([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    np.testing.assert_array_equal(table, expected * np.float32(1.25))


def test_dimensions_beyond_the_table_stay_as_they_are():
    batch = reference.make_batch([0, 3], [7], [10], [0])
    table = reference.rope_table(batch, frequencies=inverse_frequencies(100.0, 4))
    x = np.random.default_rng(0).standard_normal((3, 20))
    found = reference.rope(x, table, head_dim=10).reshape(3, 2, 10)
    heads = x.reshape(3, 2, 10)
    np.testing.assert_array_equal(found[:, :, 4:], heads[:, :, 4:])
    alone = reference.rope(heads[:, :, :4].reshape(3, 8), table, head_dim=4)
    np.testing.assert_array_equal(found[:, :, :4].reshape(3, 8), alone)


def test_norm_over_groups_and_rows():
    x = np.random.default_rng(0).standard_normal((5, 12))
    weight = np.asarray([1.0, 2.0, 3.0])
    result = reference.rms_norm(x, weight, np.asarray([4, 0]), eps=1e-3)
    parts = x[[4, 0]].reshape(2, 4, 3)
    expected = parts / np.sqrt((parts**2).mean(axis=-1, keepdims=True) + 1e-3) * weight
    np.testing.assert_allclose(result, expected.reshape(2, 12), rtol=1e-14)


@pytest.mark.parametrize("group", [8, 4])
def test_norm_multiplies_by_its_gate(group: int):
    rng = np.random.default_rng(0)
    x, gate, weight = rng.standard_normal((2, 8)), rng.standard_normal((2, 8)), np.ones(group)
    normed = reference.rms_norm(x, weight, eps=1e-6)
    gated = reference.rms_norm(x, weight, gate=gate, eps=1e-6)
    np.testing.assert_allclose(gated, normed / (1 + np.exp(-gate)), rtol=1e-13)


@pytest.mark.filterwarnings("error")
def test_sigmoid_does_not_overflow():
    np.testing.assert_array_equal(sigmoid(np.asarray([-1e4, 0.0, 1e4])), [0.0, 0.5, 1.0])


@pytest.mark.parametrize("rows", [16, 21, 40])
def test_interleaved_swiglu_equals_separate_layers(rows):
    rng = np.random.default_rng(rows)
    x, gate, up = (rng.standard_normal(shape) for shape in ((3, 8), (rows, 8), (rows, 8)))
    weight = reference.interleave_weights(gate, up, group=16)
    assert weight.shape == (-(-rows // 16) * 32, 8)
    fused = reference.linear(x, weight, scale=2.0, swiglu_columns=rows)
    expected = 2.0 * reference.swiglu(x @ gate.T, x @ up.T)
    np.testing.assert_allclose(fused, expected, rtol=1e-12)


def test_linear_scales_before_the_residual():
    rng = np.random.default_rng(0)
    x, weight, bias = rng.standard_normal((2, 4)), rng.standard_normal((3, 4)), np.ones(3)
    residual = np.full((2, 3), 10.0)
    result = reference.linear(x, weight, bias, residual, scale=0.5)
    np.testing.assert_allclose(result, 10 + 0.5 * (x @ weight.T + 1), rtol=1e-14)
    head = reference.logits(x, np.asarray([1]), weight, scale=0.25)
    np.testing.assert_allclose(head, 0.25 * x[1:] @ weight.T, rtol=1e-14)


def test_neighbours_are_rotated_from_a_dimension_on():
    batch = reference.make_batch([0, 3], [7], [10], [0])
    table = reference.rope_table(batch, frequencies=inverse_frequencies(100.0, 6))
    x = np.random.default_rng(0).standard_normal((3, 20))
    found = reference.rope(x, table, head_dim=10, start=3, interleaved=1).reshape(3, 2, 10)
    heads, cos, sin = x.reshape(3, 2, 10), table[:, None, :3], table[:, None, 3:]
    first, second = heads[:, :, 3:9:2], heads[:, :, 4:9:2]
    np.testing.assert_allclose(found[:, :, 3:6], first * cos - second * sin, rtol=1e-14)
    np.testing.assert_allclose(found[:, :, 6:9], second * cos + first * sin, rtol=1e-14)
    np.testing.assert_array_equal(found[:, :, [0, 1, 2, 9]], heads[:, :, [0, 1, 2, 9]])
