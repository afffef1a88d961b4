"""An ONNX model's file, read without its weights, and where these lie."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path, PurePosixPath

import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from onnx import ModelProto, TensorProto, numpy_helper

from sala_compile.runtime.common.files import FileRule, shown, stands
from sala_compile.runtime.errors import CheckpointError
from sala_compile.sala_ir.checkpoint.safetensors_file import CheckpointTensor

INLINE = "inline.bin"
LIMIT = (1 << 31) - 1
"""Bytes of a model's file, at most: more is none of protobuf's messages."""
STORED_TYPES: dict[int, str] = {
    TensorProto.FLOAT: "F32",
    TensorProto.FLOAT16: "F16",
    TensorProto.BFLOAT16: "BF16",
    TensorProto.UINT8: "U8",
}
"""Element types of weights in ONNX, and their names in a safetensors header."""
_MODEL = FileRule(what="the model", limit=LIMIT, error=CheckpointError)


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A parsed model, and the initializers whose bytes are in other files."""

    path: Path
    model: ModelProto
    tensors: Mapping[str, CheckpointTensor]

    @property
    def metadata(self) -> Mapping[str, str]:
        """The model's properties."""
        return {each.key: each.value for each in self.model.metadata_props}

    def error(self, place: str, found: str, expected: str, fix: str = "") -> CheckpointError:
        """An error at a node or a tensor of this file."""
        where = f"{shown(self.path)}: {shown(place)}"
        return CheckpointError(shown(found), where=where, expected=expected, fix=fix or None)


@contextmanager
def model_errors(path: Path) -> Iterator[None]:
    """Report bytes that are no message, and names that are no text, as CheckpointError."""
    try:
        yield
    except (DecodeError, UnicodeDecodeError):
        raise CheckpointError(
            "the file is no ONNX model",
            where=shown(path),
            expected="a model in ONNX's binary form",
            fix="download or write the file again",
        ) from None


def read_model(path: Path) -> ModelFile:
    """Read a model; CheckpointError where it is damaged, or a weight lies outside its directory."""
    data = _MODEL.read(path)
    with model_errors(path):
        model = onnx.load_model_from_string(data)
        _require_texts(model)
    found = ModelFile(path, model, {})
    external = [t for t in model.graph.initializer if t.data_location == TensorProto.EXTERNAL]
    return ModelFile(path, model, {t.name: _placed(found, t) for t in external})


def _require_texts(message: Message) -> None:
    """Refuse names that are no UTF-8: protobuf gives these as bytes."""
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for each in [value] if isinstance(value, Message) else value:
                _require_texts(each)
        elif field.type == FieldDescriptor.TYPE_STRING:
            for each in [value] if isinstance(value, str | bytes) else value:
                if not isinstance(each, str):
                    raise DecodeError(f"{field.name} is no text")


def with_inline_tensors(file: ModelFile, folder: Path) -> ModelFile:
    """The file with its weights, which it holds itself, written to the empty `folder`."""
    tensors, place, begin = dict(file.tensors), folder / INLINE, 0
    with place.open("xb") as data:
        for each in file.model.graph.initializer:
            if each.name in tensors or each.data_type not in STORED_TYPES or not each.dims:
                continue
            value = numpy_helper.to_array(each).tobytes()
            kind, shape = STORED_TYPES[each.data_type], tuple(each.dims)
            tensors[each.name] = CheckpointTensor(each.name, place, kind, shape, begin)
            begin += data.write(value)
    return ModelFile(file.path, file.model, tensors)


def _placed(file: ModelFile, tensor: TensorProto) -> CheckpointTensor:
    """Where an initializer's bytes lie, checked against the size of the file."""
    fields = {each.key: each.value for each in tensor.external_data}
    kind, name = STORED_TYPES.get(tensor.data_type), fields.get("location", "")
    if kind is None:
        types = ", ".join(STORED_TYPES.values())
        numbers: dict[int, str] = {value: name for name, value in TensorProto.DataType.items()}
        found = numbers.get(tensor.data_type, str(tensor.data_type))
        raise file.error(tensor.name, f"the tensor has elements {found}", types)
    if not name or PurePosixPath(name).name != name or name == ".." or "\0" in name:
        raise file.error(
            tensor.name,
            f"its bytes are in {shown(name)}",
            "a file next to the model, without folders",
        )
    data = file.path.parent / name
    if not stands(data):
        raise file.error(tensor.name, f"there is no file {shown(name)}", "the file of weights")
    shape = tuple(tensor.dims)
    offset, length = (_number(file, tensor, fields.get(key, "0")) for key in ("offset", "length"))
    placed = CheckpointTensor(tensor.name, data, kind, shape, offset)
    if min((*shape, 1)) < 0 or (length and length != placed.size):
        raise file.error(
            tensor.name, f"it has {length} bytes", f"{prod(shape)} values of type {kind}"
        )
    if offset + placed.size > os.stat(data).st_size:
        raise file.error(
            tensor.name,
            f"{shown(name)} ends before byte {offset + placed.size}",
            "the whole tensor",
            "download or write the file again",
        )
    return placed


def _number(file: ModelFile, tensor: TensorProto, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise file.error(tensor.name, f"{shown(text)} is no offset", "a number of bytes")
    return int(text)
