"""Buffers and checks for kernels that have a row for each token."""

import numpy as np

from sala_compile.codegen.kernels.tir.element import Element
from tests.support.steps import EXTRA, aligned, from_bits, padded, poisoned, to_bits


def exact(buffer: np.ndarray) -> np.ndarray:
    """What a buffer holds, in float64."""
    return from_bits(buffer) if buffer.dtype == np.uint16 else buffer.astype(np.float64)


def stored(values: np.ndarray, kind: Element) -> np.ndarray:
    """Values as a buffer of an element type holds them."""
    return aligned(to_bits(values) if kind is Element.BF16 else values.astype(np.float32))


def activation(rows: int, pitch: int, kind: Element, seed: int = 0) -> np.ndarray:
    """Random live rows, poison below."""
    values = np.random.default_rng(seed).standard_normal((rows, pitch))
    buffer = poisoned(rows + EXTRA, pitch, dtype=kind.dtype)
    buffer[:rows] = stored(values, kind)
    return buffer


def vector_weight(columns: int, seed: int = 7) -> np.ndarray:
    """A float32 weight, padded with zeros."""
    weight = aligned(np.zeros(padded(columns), np.float32))
    weight[:columns] = np.random.default_rng(seed).standard_normal(columns)
    return weight


def close(found: np.ndarray, expected: np.ndarray, output: Element) -> None:
    """Equal up to float32, or to the rounding to bf16."""
    tolerance = 5e-3 if output is Element.BF16 else 3e-6
    np.testing.assert_allclose(exact(found), expected, rtol=tolerance, atol=tolerance)
