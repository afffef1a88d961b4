"""compressed-tensors checkpoints of format "pack-quantized" with integers of 4 bits.

A module has weight_packed int32 [N, K / 8], 8 columns to a word from the low bits up, each
integer stored with 8 added; weight_scale [N, groups]; weight_zero_point int32 [N / 8, groups],
packed along N and with 8 added too, unless the weights are symmetric; weight_shape [2]. The value
is weight_scale * (integer - zero).
"""

from collections.abc import Mapping

from sala_compile.runtime.errors import CheckpointError
from sala_compile.sala_ir.checkpoint.checkpoint import Checkpoint
from sala_compile.sala_ir.checkpoint.quantized.integer_groups import (
    FLOATS,
    INTEGERS,
    PublishedTensor,
    QuantizedTensors,
    modules_with,
    neighbours,
    nibbles,
    read_member,
)
from sala_compile.sala_ir.checkpoint.quantized.schemes import FORMAT, Scheme, read_scheme
from sala_compile.sala_ir.checkpoint.quantized.settings import Settings


def find(
    checkpoint: Checkpoint, settings: Settings, expected: Mapping[str, tuple[int, ...]]
) -> QuantizedTensors:
    """The weights that have a weight_packed."""
    scheme, unknown = read_scheme(settings)
    tensors = {
        name: _tensor(checkpoint, module, shape, scheme)
        for name, module, shape in modules_with(checkpoint, expected, "weight_packed")
    }
    return QuantizedTensors(f"compressed-tensors {FORMAT}", tensors, unknown)


def _tensor(
    checkpoint: Checkpoint, module: str, stored: tuple[int, int], scheme: Scheme
) -> PublishedTensor:
    rows, columns = stored
    group = scheme.group or columns
    groups = -(-columns // group)
    parts = {name: f"{module}.weight_{name}" for name in ("packed", "scale", "shape")}
    words = read_member(checkpoint, parts["packed"], (rows, -(-columns // 8)), ("I32",))
    scales = read_member(checkpoint, parts["scale"], (rows, groups), FLOATS)
    shape = read_member(checkpoint, parts["shape"], (2,), INTEGERS)
    if shape().tolist() != [rows, columns]:
        raise CheckpointError(
            f"the weight has shape {shape().tolist()}",
            where=parts["shape"],
            expected=f"{[rows, columns]}",
        )
    zeros = None
    if not scheme.symmetric:
        parts["zero_point"] = f"{module}.weight_zero_point"
        zeros = read_member(checkpoint, parts["zero_point"], (-(-rows // 8), groups), ("I32",))
    parts["g_idx"] = f"{module}.weight_g_idx"
    if not neighbours(checkpoint, parts["g_idx"], columns, group, reordered=scheme.reordered):
        del parts["g_idx"]
    return PublishedTensor(
        module,
        stored,
        group,
        tuple(parts.values()),
        codes=lambda: nibbles(words())[:, :columns],
        scales=scales,
        zeros=None if zeros is None else lambda: nibbles(zeros().T)[:, :rows].T,
    )
