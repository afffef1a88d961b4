"""A GGUF file of a Qwen3 shape with random weights in any of its element types."""

from dataclasses import dataclass
from math import prod
from pathlib import Path

import gguf
import ml_dtypes
import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

PERIOD = 32 * ((1 << 20) - 1)
"""Random values until they repeat; no power of two, so that rows differ."""
SCALES = {"Q4_0": slice(0, 2), "Q8_0": slice(0, 2), "Q4_K": slice(0, 4), "Q6_K": slice(208, 210)}
"""Where a block has its float16 scales."""
SPREAD = {"Q4_0": 2**-9, "Q8_0": 2**-13, "Q4_K": 2**-14, "Q6_K": 2**-16}
"""Scales that give values of a usual size, about 0.02."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A decoder with tied embeddings, grouped queries and norms of queries and keys."""

    layers: int = 24
    hidden: int = 2048
    intermediate: int = 6144
    heads: int = 16
    kv_heads: int = 8
    head_dim: int = 128
    vocabulary: int = 151936
    context: int = 40960

    @property
    def parameters(self) -> int:
        """Values of all matrices."""
        return sum(prod(shape) for shape in self.matrices.values())

    @property
    def matrices(self) -> dict[str, tuple[int, int]]:
        """Name -> rows and columns."""
        found = {"token_embd.weight": (self.vocabulary, self.hidden)}
        for layer in range(self.layers):
            for name, rows, columns in (
                ("attn_q", self.heads * self.head_dim, self.hidden),
                ("attn_k", self.kv_heads * self.head_dim, self.hidden),
                ("attn_v", self.kv_heads * self.head_dim, self.hidden),
                ("attn_output", self.hidden, self.heads * self.head_dim),
                ("ffn_gate", self.intermediate, self.hidden),
                ("ffn_up", self.intermediate, self.hidden),
                ("ffn_down", self.hidden, self.intermediate),
            ):
                found[f"blk.{layer}.{name}.weight"] = (rows, columns)
        return found

    @property
    def vectors(self) -> dict[str, int]:
        """Name -> values."""
        found = {"output_norm.weight": self.hidden}
        for layer in range(self.layers):
            found |= {
                f"blk.{layer}.{name}.weight": self.hidden for name in ("attn_norm", "ffn_norm")
            }
            names = ("attn_q_norm", "attn_k_norm")
            found |= {f"blk.{layer}.{name}.weight": self.head_dim for name in names}
        return found


def write_random_gguf(path: Path, shape: Shape, kind: str, embedding: str) -> None:
    """Write matrices of the type `kind`, the embedding, which is the head too, of its own."""
    writer = gguf.GGUFWriter(path, "qwen3")
    _write_keys(writer, shape)
    for name, values in shape.vectors.items():
        writer.add_tensor_info(name, (values,), np.dtype(np.float32), 4 * values)
    kinds = {name: embedding if "embd" in name else kind for name in shape.matrices}
    for name, (rows, columns) in shape.matrices.items():
        own = GGMLQuantizationType[kinds[name]]
        values, size = GGML_QUANT_SIZES[own]
        width = columns // values * size
        writer.add_tensor_info(name, (rows, width), np.dtype(np.uint8), rows * width, raw_dtype=own)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for values in shape.vectors.values():
        writer.write_tensor_data(np.ones(values, np.float32))
    sources = {each: _blocks(each) for each in set(kinds.values())}
    for name, (rows, columns) in shape.matrices.items():
        values, size = GGML_QUANT_SIZES[GGMLQuantizationType[kinds[name]]]
        data = np.empty((rows, columns // values * size), np.uint8)
        _fill(data.reshape(-1, size), sources[kinds[name]])
        writer.write_tensor_data(data)
    writer.close()


def _write_keys(writer: gguf.GGUFWriter, shape: Shape) -> None:
    writer.add_block_count(shape.layers)
    writer.add_embedding_length(shape.hidden)
    writer.add_feed_forward_length(shape.intermediate)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_context_length(shape.context)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e6)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_tokenizer_model("none")
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def _blocks(kind: str) -> np.ndarray:
    """Random blocks of a type, uint8 [n, bytes]."""
    values, size = GGML_QUANT_SIZES[GGMLQuantizationType[kind]]
    random = np.random.default_rng(0)
    count = PERIOD // values
    if kind == "BF16":
        numbers = random.standard_normal((count, values), np.float32) * np.float32(0.02)
        blocks = numbers.astype(ml_dtypes.bfloat16).view(np.uint8).reshape(count, size)
    else:
        blocks = random.integers(0, 256, (count, size), np.uint8)
        place = SCALES[kind]
        halves = (place.stop - place.start) // 2
        scales = random.uniform(0.5, 1, (count, halves)) * SPREAD[kind]
        blocks[:, place] = scales.astype(np.float16).view(np.uint8).reshape(count, -1)
    return blocks


def _fill(blocks: np.ndarray, source: np.ndarray) -> None:
    for start in range(0, len(blocks), len(source)):
        stop = min(start + len(source), len(blocks))
        blocks[start:stop] = source[: stop - start]
