"""Buffers and checks for kernels that have a row for each token."""

import math
from collections.abc import Callable

import numpy as np

from sala_compile.codegen.kernels.arguments import Role, present
from sala_compile.codegen.kernels.rope_table import cpu as rope_table
from sala_compile.codegen.kernels.rope_table.spec import arguments
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.sala_ir import reference
from sala_compile.sala_ir.frontends.kit.rotary import inverse_frequencies
from sala_compile.sala_ir.reference import make_batch
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


TABLES = (
    *(rope_table.Spec(tuple(inverse_frequencies(1e4, n).tolist())) for n in (8, 10, 64, 128, 90)),
    rope_table.Spec(tuple(inverse_frequencies(1e4, 20).tolist()), position_offset=-7),
    rope_table.Spec(tuple(inverse_frequencies(5e5, 24).tolist()), 1.25, (0, 5, 256)),
    rope_table.Spec(tuple(inverse_frequencies(5e5, 72).tolist()), 0.8125, (0, 300)),
    rope_table.Spec((0.0,) * 12, 1 / math.log(50), log_offset=50.0),
    rope_table.Spec(tuple(inverse_frequencies(1e6, 40).tolist()), 0.25, log_offset=362.5),
)
"""Rotary tables: halves below and above a vector, factors, ranges of call lengths, logarithms."""


def check_table(spec: rope_table.Spec, run: Callable[..., np.ndarray]) -> None:
    """`run(rows, columns, *buffers)` gives the reference's table to 1 ulp of cosine and sine.

    Every row is a sequence of its own: small and large positions, calls at the ends of the ranges.
    """
    near = [start + step for start in spec.starts for step in (-1, 0, 1) if start + step > 0]
    positions = [0, 1, 2, 77, 8191, 524_287, 999_999, *range(100), *near]
    lengths = [*(position + 1 for position in positions[: -len(near)]), *near]
    positions[-len(near) :] = [length - 1 for length in near]
    count = len(positions)
    batch = make_batch(range(count + 1), positions, lengths, range(count))
    fields = {
        "token_position": positions,
        "token_sequence": range(count),
        "call_lengths": lengths,
    }
    names = [each.name for each in present(arguments(spec)) if each.role is Role.BATCH]
    buffers = [aligned(np.array([*fields[name], *[-1] * EXTRA], np.int32)) for name in names]
    found = run(count, 2 * spec.half, *buffers).astype(np.float32)
    table = reference.rope_table(batch, **spec.values)
    assert np.abs(found.view(np.int32) - table.view(np.int32)).max() <= (
        2 if spec.factor != 1 else 1
    )
    assert (found != table).mean() < 2e-3


def close(found: np.ndarray, expected: np.ndarray, output: Element) -> None:
    """Equal up to float32, or to the rounding to bf16."""
    tolerance = 5e-3 if output is Element.BF16 else 3e-6
    np.testing.assert_allclose(exact(found), expected, rtol=tolerance, atol=tolerance)
