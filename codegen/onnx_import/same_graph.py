"""Whether an ONNX model is what a captured graph becomes: node by node."""

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from onnx import FunctionProto, NodeProto, OperatorSetIdProto, TensorProto
from xdsl.dialects.builtin import ModuleOp

from sala_compile.codegen.onnx_export.assemble_model import onnx_model
from sala_compile.codegen.onnx_export.element import OnnxElement
from sala_compile.codegen.onnx_export.lower import lower_to_onnx
from sala_compile.codegen.onnx_import.model_file import (
    ModelFile,
    model_errors,
    read_model,
)
from sala_compile.codegen.onnx_import.open_onnx import is_exported
from sala_compile.sala_ir.frontends import AttentionMode

_FIX = "export the checkpoint again, or name the checkpoint itself: what was edited here is lost"


def require_same_graph(path: Path, captured: ModuleOp, attention: AttentionMode) -> None:
    """Refuse a model whose nodes are not those of the graph, naming the first that differs.

    A model's configuration is in its metadata, and its graph is captured from that. A graph that
    was edited, or that another version of the exporter wrote, would otherwise be compiled as what
    it no longer is.
    """
    with model_errors(path):
        file = read_model(path)
        if is_exported(file):  # a foreign graph was matched when it was opened
            _compare(file, captured, attention)


def _compare(file: ModelFile, captured: ModuleOp, attention: AttentionMode) -> None:
    exported = file.metadata.get("sala.attention", "")
    if attention.value != exported:
        raise file.error(
            "sala.attention",
            f"the model was exported with --attention {exported}",
            f"--attention {attention.value}",
            f"add --attention {exported}",
        )
    dtype = file.metadata.get("sala.dtype", "")
    if dtype not in list(OnnxElement):
        raise file.error("sala.dtype", f"the element type is {dtype}", ", ".join(OnnxElement))
    lowered = lower_to_onnx(captured, OnnxElement(dtype))
    names = {tensor.spec.name for tensor in lowered.weights}
    places = {name: (0, 0) for name in names}
    wanted = onnx_model(lowered, "", places, version="", description="", metadata={})
    found, graph = file.model, file.model.graph
    pairs: tuple[tuple[str, Sequence[Any], Sequence[Any]], ...] = (
        ("an operator set", found.opset_import, wanted.opset_import),
        ("an input", graph.input, wanted.graph.input),
        ("a node", graph.node, wanted.graph.node),
        ("an output", graph.output, wanted.graph.output),
        ("a constant", _inline(graph.initializer), _inline(wanted.graph.initializer)),
        ("a weight", sorted(set(file.tensors)), sorted(names)),
        *(
            (f"a node of {other.name}", one.node, other.node)
            for one, other in zip(found.functions, wanted.functions, strict=False)
        ),
        ("a function", found.functions, wanted.functions),
    )
    for what, ours, theirs in pairs:
        for one, other in zip_longest(ours, theirs):
            if _bytes(one) != _bytes(other):
                told, expected = _told(one), _told(other)
                is_inside = " with other contents" if told == expected else ""
                raise file.error(
                    _label(one if one is not None else other),
                    f"{what} is {told}{is_inside}",
                    f"{expected}, as the configuration in its metadata says",
                    _FIX,
                )


def _inline(initializers: Sequence[TensorProto]) -> list[TensorProto]:
    return [each for each in initializers if each.data_location != TensorProto.EXTERNAL]


def _bytes(value: Any) -> bytes:
    if value is None or isinstance(value, str):
        return (value or "").encode()
    return value.SerializeToString(deterministic=True)


def _label(value: Any) -> str:
    return value if isinstance(value, str) else getattr(value, "name", "") or "opset_import"


def _told(value: Any) -> str:
    match value:
        case None:
            return "missing"
        case NodeProto():
            return f"{value.op_type}({', '.join(value.input)})"
        case FunctionProto():
            return f"{value.domain}.{value.name} of {len(value.node)} nodes"
        case OperatorSetIdProto():
            return f"{value.domain or 'ai.onnx'} {value.version}"
        case _:
            return _label(value)
