"""An ONNX model opened as the checkpoint that it was made of."""

from pathlib import Path
from typing import Any

from sala_compile.codegen.onnx_export.assemble_model import PRODUCER
from sala_compile.codegen.onnx_import.found_config import FoundModel
from sala_compile.codegen.onnx_import.graph_view import GraphView
from sala_compile.codegen.onnx_import.grouped_integers import grouped_integers
from sala_compile.codegen.onnx_import.match_decoder import match_decoder
from sala_compile.codegen.onnx_import.model_file import (
    ModelFile,
    model_errors,
    read_model,
    with_inline_tensors,
)
from sala_compile.runtime.common.json_text import parse_object
from sala_compile.runtime.errors import CheckpointError
from sala_compile.sala_ir.checkpoint.checkpoint import Checkpoint
from sala_compile.sala_ir.checkpoint.safetensors_file import CheckpointTensor

CONFIG, INTEGERS = "sala.config", "sala.integers"
PARTS = ("codes", "scales", "zeros", "minima")


def open_onnx(path: Path, folder: Path) -> Checkpoint:
    """Read the model, no weights; the files next to it are those of the checkpoint.

    Weights that the model's file itself holds are written to the empty `folder`.

    Raises CheckpointError for a damaged file, and for a graph that is no decoder which a family
    has, with the first node that does not fit.
    """
    with model_errors(path):
        file = read_model(path)
        if not is_exported(file):
            config, tensors = _found(file, folder)
            return Checkpoint(path.parent, config, tensors, source=path)
        return Checkpoint(path.parent, _property(file, CONFIG), _exported(file), source=path)


def _property(file: ModelFile, name: str) -> dict[str, Any]:
    text = file.metadata.get(name, "{}").encode()
    return parse_object(text, f"{file.path}: {name}", CheckpointError)


def _exported(file: ModelFile) -> dict[str, CheckpointTensor]:
    """The weights under their names; integers from their parts."""
    tensors = dict(file.tensors)
    for name, sizes in _property(file, INTEGERS).items():
        parts = {part: tensors.pop(f"{name}.{part}", None) for part in PARTS}
        codes, scales, zeros, minima = parts.values()
        fits = isinstance(sizes, list) and all(type(size) is int for size in sizes)
        if not fits or len(sizes) != 2 or sizes[0] not in (4, 8) or codes is None or scales is None:
            raise file.error(
                name, f"{INTEGERS} says {sizes!r}", "bits and columns, codes and scales"
            )
        if name in tensors:
            raise file.error(name, "the weight is there as floats too", "one form of each weight")
        (bits, columns), shape = sizes, codes.shape
        group = shape[2] * 8 // bits if len(shape) == 3 else 0
        if group < 1 or not 0 <= group * shape[1] - columns < group:
            raise file.error(name, f"its codes are {list(shape)}", f"groups of {columns} columns")
        found = grouped_integers(
            name, (shape[0], columns), bits, group, codes, scales, zeros, minima
        )
        with codes.path.open("rb") as data:
            if not found.has_narrow_scales(data.fileno()):
                raise file.error(
                    name,
                    "its scales are none that float16 holds",
                    "scales of groups; those of super-blocks (GGUF's K types) are products",
                    "compile the file that the model was exported from",
                )
        tensors[name] = found
    return tensors


def _found(file: ModelFile, folder: Path) -> tuple[dict[str, Any], dict[str, CheckpointTensor]]:
    """The configuration and the tensors of a foreign model.

    Patterns take nodes to have the inputs and attributes of their operators; one that has not is
    reported like any other that does not fit.
    """
    view = None
    try:
        view = GraphView(with_inline_tensors(file, folder))
        found = FoundModel(view, match_decoder(view))
        return found.config, found.tensors
    except (LookupError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
        raise file.error(
            "the graph" if view is None else view.place,
            f"a node is unlike its operator: {error}",
            "a decoder with the inputs and attributes of its operators",
        ) from error


def is_exported(file: ModelFile) -> bool:
    """Whether our exporter wrote a model; others are matched with the graph of a decoder."""
    return file.model.producer_name == PRODUCER and CONFIG in file.metadata
