"""ONNX models as JSON documents, whole and damaged, and the bytes of such a document."""

import json
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from onnx import ModelProto

MODEL = "model.onnx"
WHOLE_NUMBERS = ("dims", "i", "ints", "irVersion", "version", "dimValue")
"""Fields whose numbers of 64 bits JSON has as texts."""
LARGEST = 3.4028234e38
"""The largest float32, as JSON takes it."""
REFUSALS = (ParseError, ValueError, TypeError, AttributeError, RecursionError, OverflowError)


def write_onnx(directory: Path, checkpoint: Path) -> None:
    """Two exports, floats and integers, and models of other exporters."""
    from sala_compile.codegen.onnx_export.element import OnnxElement
    from sala_compile.codegen.options import WeightRounding
    from sala_compile.passes.support.quantization import Quantization
    from tests.codegen.onnx_export.conftest import export
    from tests.codegen.onnx_import import test_foreign_integers, test_foreign_models

    element = OnnxElement.FLOAT32
    directory.mkdir()
    export(checkpoint, directory / "floats", element)
    rounded: Any = {"quantization": Quantization.INT4_G32, "rounding": WeightRounding.NEAREST}
    export(checkpoint, directory / "integers", element, **rounded)
    for name in ("llama-tied-a-genai", "llama-tied-a-optimum"):
        folder = directory / name.rpartition("-")[2]
        folder.mkdir()
        test_foreign_models.built(folder, name)
    folder = directory / "genai-integers"
    folder.mkdir()
    test_foreign_integers.built(folder, test_foreign_integers.ZEROS)


def document(path: Path) -> bytes:
    """A model, without its weights, as JSON."""
    model = onnx.load(path, load_external_data=False)
    return json.dumps(_numbers(MessageToDict(model))).encode()


def _numbers(value: Any, name: str = "") -> Any:
    match value:
        case dict():
            return {key: _numbers(item, key) for key, item in value.items()}
        case list():
            return [_numbers(item, name) for item in value]
        case str() if name in WHOLE_NUMBERS:
            return int(value)
        case float():
            return min(value, LARGEST)
        case _:
            return value


def file_of(text: bytes) -> bytes:
    """The model of a document, whatever became of it; its own text if it is none."""
    try:
        model = ParseDict(json.loads(text), ModelProto(), ignore_unknown_fields=True)
        return model.SerializeToString(deterministic=True)
    except (*REFUSALS, SystemError):  # the last one where a name is no text
        return text
