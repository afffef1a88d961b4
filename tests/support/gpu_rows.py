"""Buffers and checks for GPU kernels whose output has a row for each token."""

from typing import Any

import numpy as np

from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.triton.kernel import GpuKernel
from tests.support.interpreted import run
from tests.support.steps import EXTRA, aligned, padded, poisoned


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
