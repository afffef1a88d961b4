"""Checkpoints that were published as integers of 4 bits, read as their format says."""

from collections.abc import Mapping
from typing import Any

from runtime.errors import CheckpointError
from sala_ir.checkpoint import Checkpoint
from sala_ir.published import awq, compressed, gptq
from sala_ir.published.tensors import PublishedIntegers

FIELD = "quantization_config"
READERS = {"gptq": gptq.find, "awq": awq.find, "compressed-tensors": compressed.find}
"""quant_method of config.json -> what finds its tensors."""


def published_integers(
    checkpoint: Checkpoint, expected: Mapping[str, tuple[int, ...]]
) -> PublishedIntegers | None:
    """The tensors that a checkpoint stores as integers; None where it is a plain one.

    Raises CheckpointError for a format, or a use of one, that is not known to the bit.
    """
    config = checkpoint.config.get(FIELD)
    if config is None:
        return None
    place = f"{checkpoint.directory}/config.json: {FIELD}"
    method = config.get("quant_method") if isinstance(config, dict) else None
    reader: Any = READERS.get(method) if isinstance(method, str) else None
    if reader is None:
        raise CheckpointError(
            f"quant_method {method!r} is not supported",
            where=place,
            expected=", ".join(READERS),
            fix="use the unquantised checkpoint, with --quantize where it shall be small",
        )
    found = PublishedIntegers(*reader(checkpoint, config, expected, place))
    found.check()
    return found


__all__ = ["FIELD", "PublishedIntegers", "published_integers"]
