"""A GGUF file opened: its parts brought to those of a checkpoint directory."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from sala_compile.runtime.common.files import shown
from sala_compile.runtime.common.json_text import quoted
from sala_compile.runtime.errors import ConfigError
from sala_compile.sala_ir.checkpoint.checkpoint import Checkpoint
from sala_compile.sala_ir.checkpoint.gguf.container import (
    Container,
    PlacedTensor,
    read_container,
)
from sala_compile.sala_ir.checkpoint.gguf.detect import FILE
from sala_compile.sala_ir.checkpoint.gguf.model_config import head_dim, model_config
from sala_compile.sala_ir.checkpoint.gguf.stored_types import FLOATS, READ, GgufTensor
from sala_compile.sala_ir.checkpoint.gguf.tensor_names import (
    FACTORS,
    NAMES,
    TensorNames,
)
from sala_compile.sala_ir.checkpoint.gguf.written_tokenizer import write_tokenizer
from sala_compile.sala_ir.field_rules import unknown_note


def open_gguf(path: Path, folder: Path) -> Checkpoint:
    """Read the header, no weights; tokenizer files are written to the empty `folder`.

    Raises ConfigError for an architecture, or a use of one, that no frontend has, and
    CheckpointError for a damaged file or an element type that is not read.
    """
    container = read_container(path)
    architecture = _architecture(container)
    for tensor in container.tensors.values():
        _check_kind(container, tensor)
    config, unknown = model_config(container, architecture, partial(_factors, container))
    size = head_dim(config)
    tensors: dict[str, GgufTensor] = {}
    for tensor in container.tensors.values():
        if tensor.name not in FACTORS:
            found = _tensor(container, tensor, NAMES[architecture], size)
            tensors[found.name] = found
    notes = (unknown_note(unknown, path.name),) if unknown else ()
    notes += write_tokenizer(container, folder)
    return Checkpoint(folder, config, tensors, source=path, notes=notes)


def _architecture(container: Container) -> str:
    metadata = container.metadata
    found = metadata.get("general.architecture")
    if not isinstance(found, str) or found not in NAMES:
        raise ConfigError(
            f"the architecture {quoted(found)} is not supported",
            where=f"{shown(container.path)}: general.architecture",
            expected=", ".join(NAMES),
            fix="use a file of a supported family",
        )
    kind = metadata.get("general.type", "model")
    if kind != "model":
        raise container.error("general.type", f"the file is of type {quoted(kind)}", '"model"')
    parts = metadata.get("split.count", 0)
    if parts not in (0, 1):
        raise container.error(
            "split.count",
            f"the model is split into {quoted(parts)} files",
            "one file",
            "join the files (llama-gguf-split --merge)",
        )
    return found


def _check_kind(container: Container, tensor: PlacedTensor) -> None:
    """Refuse element types that are not read, and blocks where no rows are."""
    name = tensor.kind.name
    if name not in READ:
        raise container.error(
            tensor.name,
            f"the tensor has type {name}",
            ", ".join(READ),
            "use a file of these types alone",
        )
    if len(tensor.shape) == 1 and name not in FLOATS:
        raise container.error(
            tensor.name, f"the tensor of one dimension has type {name}", ", ".join(FLOATS)
        )


def _tensor(
    container: Container, tensor: PlacedTensor, names: TensorNames, size: int
) -> GgufTensor:
    rows = names.head_rows(tensor.name, size)
    if rows and (rows % 2 or tensor.shape[0] % rows):
        raise container.error(
            tensor.name,
            f"the tensor has {tensor.shape[0]} rows",
            f"whole heads of {rows} rows, an even number",
        )
    name = names.of(tensor.name)
    return GgufTensor(
        name, container.path, tensor.kind.name, tensor.shape, tensor.begin, head_rows=rows
    )


def _factors(container: Container, name: str) -> np.ndarray:
    """What the rotary frequencies are divided by; its size is checked with the configuration."""
    stored = container.tensors[name]
    if len(stored.shape) != 1 or stored.kind.name != "F32" or stored.shape[0] > 4096:
        raise container.error(
            name,
            f"the tensor is {stored.kind.name} {list(stored.shape)}",
            "F32, a factor for each frequency",
        )
    tensor = _tensor(container, stored, NAMES["llama"], 0)
    with FILE.open(container.path) as file:
        found = tensor.read(file.fileno(), 0, stored.shape[0])
    if not (np.isfinite(found) & (found > 0)).all():
        raise container.error(name, "a factor is no positive number", "factors")
    return found
