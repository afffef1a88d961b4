"""AWQ checkpoints of version "gemm", as AutoAWQ writes them.

A module has qweight int32 [K, N / 8] and qzeros int32 [groups, N / 8]; of the 8 outputs of a word
the low bits hold 0, 2, 4, 6, 1, 3, 5, 7 in turn. scales is [groups, N]; the value is
scales * (code - zero).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sala_compile.runtime.errors import CheckpointError
from sala_compile.sala_ir.checkpoint.checkpoint import Checkpoint
from sala_compile.sala_ir.checkpoint.quantized.integer_groups import (
    FLOATS,
    PublishedTensor,
    QuantizedTensors,
    modules_with,
    nibbles,
    read_member,
    same_fields,
)
from sala_compile.sala_ir.checkpoint.quantized.known_fields import AWQ
from sala_compile.sala_ir.checkpoint.quantized.settings import Settings
from sala_compile.sala_ir.field_rules import check_fields

ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
"""The output that bits 4 i to 4 i + 3 of a word belong to."""


def find(
    checkpoint: Checkpoint, settings: Settings, expected: Mapping[str, tuple[int, ...]]
) -> QuantizedTensors:
    """The weights that have a qweight."""
    fields: Mapping[str, Any] = settings.fields
    unknown = check_fields(fields, AWQ, settings.place, CheckpointError)
    same_fields(fields, settings.place, "bits", "w_bit")
    same_fields(fields, settings.place, "zero_point")
    size = same_fields(fields, settings.place, "group_size", "q_group_size")
    tensors = {
        name: _tensor(checkpoint, module, shape, size)
        for name, module, shape in modules_with(checkpoint, expected, "qweight")
    }
    return QuantizedTensors("AWQ gemm", tensors, unknown)


def _tensor(
    checkpoint: Checkpoint, module: str, shape: tuple[int, int], size: int
) -> PublishedTensor:
    rows, columns = shape
    group = columns if size == -1 else size
    groups, words_of_rows = -(-columns // group), -(-rows // 8)
    members = tuple(f"{module}.{part}" for part in ("qweight", "qzeros", "scales"))
    words = read_member(checkpoint, members[0], (columns, words_of_rows), ("I32",))
    zeros = read_member(checkpoint, members[1], (groups, words_of_rows), ("I32",))
    scales = read_member(checkpoint, members[2], (groups, rows), FLOATS)
    return PublishedTensor(
        module,
        shape,
        group,
        members,
        codes=lambda: np.ascontiguousarray(nibbles(words(), ORDER)[:, :rows].T),
        scales=lambda: np.ascontiguousarray(scales().T),
        zeros=lambda: np.ascontiguousarray(nibbles(zeros(), ORDER)[:, :rows].T),
    )
