"""AWQ checkpoints of version "gemm", as AutoAWQ writes them.

A module has qweight int32 [K, N / 8] and qzeros int32 [groups, N / 8]; of the 8 outputs of a word
the low bits hold 0, 2, 4, 6, 1, 3, 5, 7 in turn. scales is [groups, N]; the value is
scales * (code - zero).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sala_ir.checkpoint import Checkpoint
from sala_ir.published.tensors import PublishedTensor, nibbles, read_member, require

ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
"""The output that bits 4 i to 4 i + 3 of a word belong to."""


def find(
    checkpoint: Checkpoint,
    config: Mapping[str, Any],
    expected: Mapping[str, tuple[int, ...]],
    place: str,
) -> tuple[str, dict[str, PublishedTensor]]:
    """Name of the format, and the weights that have a qweight."""
    require(config, place, "bits", 4)
    require(config, place, "zero_point", True)
    require({"version": str(config.get("version", "gemm")).lower()}, place, "version", "gemm")
    found: dict[str, PublishedTensor] = {}
    for name, shape in expected.items():
        module = name.removesuffix(".weight")
        if f"{module}.qweight" in checkpoint.tensors:
            rows, columns = shape
            found[name] = _tensor(checkpoint, module, rows, columns, config.get("group_size", -1))
    return "AWQ gemm", found


def _tensor(
    checkpoint: Checkpoint, module: str, rows: int, columns: int, size: int
) -> PublishedTensor:
    group = columns if size == -1 else size
    groups = -(-columns // group)
    members = tuple(f"{module}.{part}" for part in ("qweight", "qzeros", "scales"))
    words = read_member(checkpoint, members[0], (columns, rows // 8), ("I32",))
    zeros = read_member(checkpoint, members[1], (groups, rows // 8), ("I32",))
    scales = read_member(checkpoint, members[2], (groups, rows), ("F16", "BF16", "F32"))
    return PublishedTensor(
        module,
        (rows, columns),
        group,
        members,
        codes=lambda: np.ascontiguousarray(nibbles(words(), ORDER).T),
        scales=lambda: np.ascontiguousarray(scales().T),
        zeros=lambda: np.ascontiguousarray(nibbles(zeros(), ORDER).T),
    )
