"""Buffers and checks for GPU kernels whose output has a row for each token."""

from typing import Any

import numpy as np

from codegen.kernels.tir.element import Element
from codegen.kernels.triton.kernel import GpuKernel
from tests.support.interpreted import run
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


def control_of(tokens: int = 0, sequences: int = 0, logit_rows: int = 0) -> np.ndarray:
    """The control buffer of a step."""
    return aligned(np.array([tokens, sequences, logit_rows, 1, *[0] * 12], np.int32))


def run_rows(
    kernel: GpuKernel, rows: int, columns: int, output: Element, *operands: np.ndarray, **more: Any
) -> np.ndarray:
    """The live rows of the output buffer of a kernel whose last parameter is the output.

    `operands` are its other buffers behind `control`. Rows beyond the live ones must stay as they
    are, padding becomes 0.
    """
    out = poisoned(rows + EXTRA, padded(columns), dtype=output.dtype)
    before = out.copy()
    control = control_of(rows, logit_rows=rows)
    names = [parameter.name for parameter in kernel.parameters]
    buffers = dict(zip(names, (control, *operands, out), strict=True))
    run(kernel, buffers, {"tokens": rows + EXTRA, "logit_rows": rows + EXTRA}, **more)
    assert np.array_equal(out[rows:].view(np.uint8), before[rows:].view(np.uint8))
    assert (out[:rows, columns:] == 0).all()
    return out[:rows, :columns]


def close(found: np.ndarray, expected: np.ndarray, output: Element) -> None:
    """Equal up to float32, or to the rounding to bf16."""
    tolerance = 5e-3 if output is Element.BF16 else 3e-6
    np.testing.assert_allclose(exact(found), expected, rtol=tolerance, atol=tolerance)
