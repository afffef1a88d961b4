"""Checkpoints that were published as integers of 4 bits, read as their format says."""

from collections.abc import Callable, Mapping
from typing import Any

from sala_compile.runtime.common.json_text import is_object, json_kind, quoted
from sala_compile.runtime.errors import CheckpointError
from sala_compile.sala_ir.checkpoint.checkpoint import Checkpoint
from sala_compile.sala_ir.checkpoint.quantized import awq, compressed, gptq
from sala_compile.sala_ir.checkpoint.quantized.integer_groups import (
    PublishedIntegers,
    QuantizedTensors,
)
from sala_compile.sala_ir.checkpoint.quantized.settings import FIELDS, Settings, find_settings
from sala_compile.sala_ir.field_rules import unknown_note

Reader = Callable[[Checkpoint, Settings, Mapping[str, tuple[int, ...]]], QuantizedTensors]
READERS: Mapping[str, Reader] = {
    "gptq": gptq.find,
    "awq": awq.find,
    "compressed-tensors": compressed.find,
}
"""quant_method -> what finds its tensors."""


def published_integers(
    checkpoint: Checkpoint, expected: Mapping[str, tuple[int, ...]]
) -> PublishedIntegers | None:
    """The tensors that a checkpoint stores as integers; None if it is a plain one.

    Raises CheckpointError for a format, or a use of one, that is not known to the bit.
    """
    settings = find_settings(checkpoint)
    if settings is None:
        return None
    found = _reader(settings)(checkpoint, settings, expected)
    if not found.tensors:
        raise CheckpointError(
            f"the configuration names {found.scheme}, and no weight is stored as integers",
            where=settings.place,
            expected="a checkpoint with the tensors of its format",
            fix="remove the field if the weights were brought back to floats",
        )
    notes = settings.notes
    if found.unknown:
        notes += (unknown_note(found.unknown, settings.name),)
    integers = PublishedIntegers(found.scheme, found.tensors, notes)
    integers.check()
    return integers


def _reader(settings: Settings) -> Reader:
    fields: Any = settings.fields
    if not is_object(fields):
        raise CheckpointError(
            f"there is {json_kind(fields)}", where=settings.place, expected="an object"
        )
    method = fields.get("quant_method")
    reader = READERS.get(method.lower()) if isinstance(method, str) else None
    if reader is None:
        raise CheckpointError(
            f"quant_method {quoted(method)} is not supported",
            where=settings.place,
            expected=", ".join(READERS),
            fix="use the unquantised checkpoint, with --quantize if it should be small",
        )
    return reader


__all__ = ["FIELDS", "PublishedIntegers", "published_integers"]
