"""compressed-tensors checkpoints of format "pack-quantized" with integers of 4 bits.

A module has weight_packed int32 [N, K / 8], 8 columns to a word from the low bits up, each
integer stored with 8 added; weight_scale [N, groups]; weight_zero_point int32 [N / 8, groups],
packed along N and with 8 added too, unless the weights are symmetric; weight_shape [2]. The value
is weight_scale * (integer - zero).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from runtime.errors import CheckpointError
from sala_ir.checkpoint import Checkpoint
from sala_ir.published.tensors import PublishedTensor, nibbles, read_member, require

FORMAT = "pack-quantized"
INTEGERS = ("I32", "I64")


def find(
    checkpoint: Checkpoint,
    config: Mapping[str, Any],
    expected: Mapping[str, tuple[int, ...]],
    place: str,
) -> tuple[str, dict[str, PublishedTensor]]:
    """Name of the format, and the weights that have a weight_packed."""
    settings = _settings(config, place)
    found: dict[str, PublishedTensor] = {}
    for name, shape in expected.items():
        module = name.removesuffix(".weight")
        if f"{module}.weight_packed" in checkpoint.tensors:
            rows, columns = shape
            found[name] = _tensor(checkpoint, module, rows, columns, settings)
    return f"compressed-tensors {FORMAT}", found


def _settings(config: Mapping[str, Any], place: str) -> Mapping[str, Any]:
    """The one way in which all weights were quantised."""
    groups = list((config.get("config_groups") or {}).values())
    weights = [group.get("weights") or {} for group in groups]
    if not weights or any(entry != weights[0] for entry in weights):
        raise CheckpointError(
            f"{len(weights)} groups of modules are quantised in different ways",
            where=f"{place}: config_groups",
            expected="one way for all quantised modules",
        )
    for group in groups:
        formats = {"format": group.get("format") or config.get("format")}
        require(formats, place, "format", FORMAT)
        require(group, f"{place}: config_groups", "input_activations", None)
    where = f"{place}: config_groups: weights"
    require(weights[0], where, "num_bits", 4)
    require(weights[0], where, "type", "int")
    require(weights[0], where, "strategy", "group", "channel")
    return weights[0]


def _tensor(
    checkpoint: Checkpoint, module: str, rows: int, columns: int, settings: Mapping[str, Any]
) -> PublishedTensor:
    is_grouped = settings["strategy"] == "group"
    group = int(settings["group_size"]) if is_grouped else columns
    groups = -(-columns // group)
    parts = {name: f"{module}.weight_{name}" for name in ("packed", "scale", "shape")}
    words = read_member(checkpoint, parts["packed"], (rows, -(-columns // 8)), ("I32",))
    scales = read_member(checkpoint, parts["scale"], (rows, groups), ("F16", "BF16", "F32"))
    shape = read_member(checkpoint, parts["shape"], (2,), INTEGERS)
    if shape().tolist() != [rows, columns]:
        raise CheckpointError(
            f"the weight has shape {shape().tolist()}",
            where=parts["shape"],
            expected=f"{[rows, columns]}",
        )
    zeros = None
    if not settings.get("symmetric", True):
        parts["zero_point"] = f"{module}.weight_zero_point"
        zeros = read_member(checkpoint, parts["zero_point"], (-(-rows // 8), groups), ("I32",))
    if f"{module}.weight_g_idx" in checkpoint.tensors:
        parts["g_idx"] = f"{module}.weight_g_idx"
        _require_neighbours(checkpoint, parts["g_idx"], columns, group)
    return PublishedTensor(
        module,
        (rows, columns),
        group,
        tuple(parts.values()),
        codes=lambda: nibbles(words())[:, :columns],
        scales=scales,
        zeros=None if zeros is None else lambda: nibbles(zeros().T)[:, :rows].T,
    )


def _require_neighbours(checkpoint: Checkpoint, name: str, columns: int, group: int) -> None:
    found = read_member(checkpoint, name, (columns,), INTEGERS)()
    if not np.array_equal(found, np.arange(columns) // group):
        raise CheckpointError(
            "the inputs of the weight are grouped in the order of their activations",
            where=f"{checkpoint.directory}: {name}",
            expected="groups of neighbours: no kernel gathers single inputs",
            fix="quantise with actorder null or static",
        )
