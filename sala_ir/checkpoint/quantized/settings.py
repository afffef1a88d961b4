"""Where a checkpoint says how it was quantised: in config.json, or in a file of its own."""

from dataclasses import dataclass
from typing import Any

from sala_compile.runtime.common.files import FileRule, stands
from sala_compile.runtime.common.json_text import LIMITS, parse_object
from sala_compile.runtime.errors import CheckpointError
from sala_compile.sala_ir.checkpoint.checkpoint import Checkpoint

FIELDS = ("quantization_config", "compression_config")
"""Fields of config.json that hold it; the second is what compressed-tensors once wrote."""
SIDE_FILES = {"quantize_config.json": "gptq", "quant_config.json": "awq"}
"""Files that older programs write, and the method of their fields."""
NAMING = ("quant_method", "checkpoint_format", "version")
"""Fields of such a file of which one says what its format is."""
_PARTS = (
    *(".qweight", ".weight_packed", ".weight_scale", ".weight_scale_inv", ".weight_shape"),
    *(".weight.absmax", ".SCB", ".qzeros"),
)


@dataclass(frozen=True, slots=True)
class Settings:
    """`fields` as they are at `place`; `name` is that place without the directory."""

    fields: Any
    place: str
    name: str
    notes: tuple[str, ...] = ()


def find_settings(checkpoint: Checkpoint) -> Settings | None:
    """How the checkpoint was quantised; None for a plain one.

    Raises CheckpointError for parts of quantised weights that nothing says how to read.
    """
    for field in FIELDS:
        fields = checkpoint.config.get(field)
        if fields is not None:
            place = f"{checkpoint.directory}/config.json: {field}"
            return Settings(fields, place, field)
    part = next((name for name in checkpoint.tensors if name.endswith(_PARTS)), None)
    if part is None:
        return None
    for name, method in SIDE_FILES.items():
        if stands(checkpoint.directory / name):
            return _side_file(checkpoint, name, method)
    raise CheckpointError(
        f"{part} is a part of a quantised weight, and nothing says how it was quantised",
        where=f"{checkpoint.directory}/config.json: {FIELDS[0]}",
        expected=f"that field, or a file {' or '.join(SIDE_FILES)}",
        fix="add the file of the published checkpoint that says it",
    )


def _side_file(checkpoint: Checkpoint, name: str, method: str) -> Settings:
    path = checkpoint.directory / name
    rule = FileRule(what="the file", limit=LIMITS.size, error=CheckpointError)
    fields = parse_object(rule.read(path), str(path), CheckpointError)
    if all(fields.get(field) is None for field in NAMING):
        raise CheckpointError(
            "the checkpoint is quantised, and this file does not say in which format",
            where=str(path),
            expected=f"one of the fields {', '.join(NAMING)}",
            fix=f'add "quant_method": "{method}" and the checkpoint_format, if that is what it is',
        )
    note = f"config.json has no {FIELDS[0]}: that of {name} was read"
    if fields.get("quant_method") is None:
        fields = fields | {"quant_method": method}
    return Settings(fields, str(path), name, (note,))
