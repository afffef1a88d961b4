"""Rows of integers in panels, the layout that `codegen.layouts.encodings` describes."""

import numpy as np

from sala_compile.sala_ir.checkpoint.integers import Integers


def panel_codes(integers: Integers, bits: int, panel_rows: int) -> np.ndarray:
    """The codes of some whole panels, the last one padded with rows of code 0."""
    codes = _whole_panels(integers.codes, panel_rows)
    panels = len(codes) // panel_rows
    count = 16 // bits
    split = codes.reshape(panels, panel_rows, -1, count, 2).astype(np.uint16)
    lanes = split[:, :, :, 0]
    for index in range(1, count):
        lanes |= split[:, :, :, index] << (bits * index)
    return np.ascontiguousarray(lanes.transpose(0, 2, 1, 3))


def panel_groups(values: np.ndarray, panel_rows: int) -> np.ndarray:
    """Scales or zeros [rows, groups] as [panels, groups, rows of a panel], padded with 0."""
    values = _whole_panels(values, panel_rows)
    grouped = values.reshape(-1, panel_rows, values.shape[1])
    return np.ascontiguousarray(grouped.transpose(0, 2, 1))


def _whole_panels(values: np.ndarray, panel_rows: int) -> np.ndarray:
    missing = -len(values) % panel_rows
    return np.pad(values, [(0, missing), (0, 0)]) if missing else values
