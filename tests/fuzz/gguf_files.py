"""GGUF files as JSON documents, whole and damaged, and the bytes of such a document."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.gguf_reader import GGUFReader

ALIGNMENT = 32
Pairs = list[tuple[str, Any]]


def write_ggufs(directory: Path) -> None:
    """Two small models: K-quants and SentencePiece; older blocks, floats and byte-level BPE."""
    from tests.support.gguf_files import dense_config, write_models

    kinds = {"q_proj": "Q6_K", "down": "Q5_K", "embed": "Q8_0"}
    others = {"q_proj": "Q4_1", "k_proj": "F16", "v_proj": "Q5_0", "down": "Q5_1", "gate": "BF16"}
    for family, types, rest, words in (
        ("llama", kinds, "Q4_K", pieces()),
        ("qwen2", others, "Q4_0", byte_level()),
    ):
        config = dense_config(
            family,
            vocab_size=320,
            intermediate_size=256,
            num_hidden_layers=1,
            tie_word_embeddings=family == "llama",
        )
        folder = directory / family
        folder.mkdir(parents=True)

        def kind_of(name: str, types: dict[str, str] = types, rest: str = rest) -> str:
            return next((kind for part, kind in types.items() if part in name), rest)

        path, _ = write_models(folder, config, kind_of, metadata=words)
        path.rename(directory / f"{family}.gguf")


def pieces() -> dict[str, Any]:
    """A SentencePiece vocabulary: specials, bytes, letters and a few words."""
    texts = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    kinds = [2, 3, 3, *[6] * 256]
    words = ["▁", *"etaoinshrdlu", "th", "he", "in", "▁the", "er", "an", "re", "on"]
    found = [*texts, *words]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": found,
        "tokenizer.ggml.scores": [float(-index) for index in range(len(found))],
        "tokenizer.ggml.token_type": [*kinds, *[1] * len(words)],
    }


def byte_level() -> dict[str, Any]:
    """A byte-level vocabulary: an end, the 256 characters of bytes, two merges."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [chr(256 + index) for index in range(256 - len(plain))]
    texts = ["<|endoftext|>", *map(chr, plain), *others, "th", "the"]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.tokens": texts,
        "tokenizer.ggml.token_type": [3, *[1] * (len(texts) - 1)],
        "tokenizer.ggml.merges": ["t h", "th e"],
        "tokenizer.ggml.eos_token_id": 0,
    }


def document(path: Path) -> tuple[bytes, bytes]:
    """The header of a whole file as JSON, and its data."""
    reader = GGUFReader(path)
    keys = {name: field.contents() for name, field in reader.fields.items() if name[:5] != "GGUF."}
    tensors = [
        {
            "name": tensor.name,
            "shape": [int(size) for size in tensor.shape],
            "type": int(tensor.tensor_type),
            "offset": int(tensor.data_offset) - int(reader.data_offset),
        }
        for tensor in reader.tensors
    ]
    found = {"keys": keys, "tensors": tensors}
    return json.dumps(found).encode(), path.read_bytes()[reader.data_offset :]


def file_of(header: bytes, data: bytes) -> bytes:
    """A file with the header of a document, whatever became of it; its own text if it is none."""
    try:
        found = json.loads(header, object_pairs_hook=list)
        fields = dict(found)
        keys: Pairs = fields["keys"] if _is_object(fields["keys"]) else []
        tensors = [dict(tensor) for tensor in fields["tensors"] if _is_object(tensor)]
        body = b"".join(_text(name) + _value(value) for name, value in keys)
        body += b"".join(_tensor(tensor) for tensor in tensors)
        counts = _whole(len(tensors), 8) + _whole(len(keys), 8)
        whole = b"GGUF" + _whole(fields.get("version", 3), 4) + counts + body
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError, struct.error):
        return b"GGUF" + header + data
    return whole + bytes(-len(whole) % ALIGNMENT) + data


def _whole(value: Any, size: int) -> bytes:
    """An integer as it fits, whatever it was."""
    number = int(value) if isinstance(value, int | float | str) else 0
    return (number % (1 << (8 * size))).to_bytes(size, "little")


def _text(value: str) -> bytes:
    data = value.encode("utf-8", "surrogatepass")
    return _whole(len(data), 8) + data


def _is_object(value: Any) -> bool:
    """Whether a value is the pairs of an object."""
    return (
        isinstance(value, list) and bool(value) and all(isinstance(item, tuple) for item in value)
    )


def _value(value: Any) -> bytes:
    """A value with its type."""
    kind, data = _typed(value)
    return _whole(kind, 4) + data


def _typed(value: Any) -> tuple[int, bytes]:
    match value:
        case bool():
            return 7, _whole(value, 1)
        case int():
            return (4, _whole(value, 4)) if 0 <= value < 1 << 32 else (11, _whole(value, 8))
        case float():
            return 6, np.float32(value).tobytes()
        case str():
            return 8, _text(value)
        case list() if not _is_object(value):
            each = [_typed(item) for item in value]
            first = each[0][0] if each else 4
            body = b"".join(data for kind, data in each if kind == first)
            count = sum(kind == first for kind, _ in each)
            return 9, _whole(first, 4) + _whole(count, 8) + body
        case _:
            return 8, _text(str(value))


def _tensor(fields: dict[str, Any]) -> bytes:
    shape = fields.get("shape", [])
    shape = shape if isinstance(shape, list) else [shape]
    sizes = b"".join(_whole(size, 8) for size in shape)
    head = _text(str(fields.get("name", ""))) + _whole(len(shape), 4) + sizes
    return head + _whole(fields.get("type", 0), 4) + _whole(fields.get("offset", 0), 8)


def type_numbers() -> tuple[int, ...]:
    """The numbers of all types of blocks."""
    return tuple(int(GGMLQuantizationType(kind)) for kind in GGML_QUANT_SIZES)
