"""Random integers of any encoding, and their stored parts in panels."""

from typing import Any

import numpy as np

from sala_compile.codegen.layouts.integer_panels import panel_codes, panel_groups
from sala_compile.sala_ir.checkpoint.integers import Integers
from tests.support.steps import aligned


def random_integers(spec: Any, rows: int, columns: int, seed: int = 0) -> Integers:
    """Integers of all codes for a kernel's spec; factors of the whole range, 0 among them."""
    random = np.random.default_rng(seed)
    scaled = spec.super_block or spec.group
    padded, limit, entries = -(-columns // scaled) * scaled, 1 << spec.bits, spec.entries
    groups = padded // spec.group
    codes = random.integers(0, limit, (rows, padded)).astype(np.uint8)
    zeros = random.integers(0, limit, (rows, groups)).astype(np.uint8)
    if not spec.stores_zeros:
        zeros[:] = 0 if spec.has_minima else limit // 2
    scales = random.standard_normal((rows, padded // scaled * entries)).astype(np.float16)
    count = groups * entries if spec.super_block else 0
    factors = random.integers(-128, 128, (rows, count)).astype(np.int8)
    return Integers(codes, scales, zeros, factors)


def panel_parts(integers: Integers, bits: int, *, zeros: bool) -> list[np.ndarray]:
    """Codes, scales, zeros?, factors? in panels of 64 rows."""
    parts = [panel_codes(integers, bits, 64), panel_groups(integers.scales, 64).view(np.uint16)]
    parts += [panel_groups(integers.zeros, 64)] if zeros else []
    parts += [panel_groups(integers.factors, 64)] if integers.factors.size else []
    return [aligned(part) for part in parts]
