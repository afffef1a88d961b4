"""The panel layout of a weight matrix [N, K]: [panels][K / p][64][p], N and K padded with zeros.

A panel holds 64 rows (outputs). Along the reduced dimension, p values (two of bf16, one of f32)
of each of the 64 outputs are together, so that one step of a dot product reads 256 consecutive
bytes, and a panel is one stream.
"""

import numpy as np

from sala_compile.codegen.layouts.padding import padded

PANEL_ROWS = 64
"""Outputs of a panel."""


def panel_shape(rows: int, columns: int, pack: int) -> tuple[int, int, int, int]:
    """Return the stored shape of a weight [rows, columns]."""
    return -(-rows // PANEL_ROWS), padded(columns) // pack, PANEL_ROWS, pack


def pack_panels(rows: np.ndarray, panel_rows: int = PANEL_ROWS) -> np.ndarray:
    """Return the panels of some rows of a weight: any range that starts at a panel.

    `rows` [n, K] is uint16 (the bits of bf16) or float32. A large weight is packed a few panels
    at a time: the panels of a range of rows are a range of the panels of all rows.
    """
    count, columns = rows.shape
    pack = 4 // rows.itemsize
    missing = (-count % panel_rows, padded(columns) - columns)
    if any(missing):
        rows = np.pad(rows, [(0, size) for size in missing])
    packs = np.ascontiguousarray(rows).view(np.uint32)  # moved whole, which is several times faster
    grouped = packs.reshape(-1, panel_rows, packs.shape[1]).transpose(0, 2, 1)
    return np.ascontiguousarray(grouped).view(rows.dtype).reshape(*grouped.shape, pack)
