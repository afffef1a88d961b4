"""GGUF files that the package gguf writes, and the checkpoint directories of the same models."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize, quantize
from safetensors.numpy import load_file, save_file

from sala_compile.sala_ir.checkpoint.random_checkpoint import write_random_checkpoint

KEYS = {
    "num_hidden_layers": "block_count",
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "max_position_embeddings": "context_length",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
    "rope_theta": "rope.freq_base",
}
KINDS = {
    **{"Q4_0": 1, "Q4_1": 2, "Q5_0": 1, "Q5_1": 2, "Q8_0": 1, "Q4_K": 2, "Q5_K": 2},
    **{"Q2_K": -2, "Q3_K": -1, "Q6_K": -1, "IQ4_NL": 1, "IQ4_XS": 1},
    **{"IQ2_XXS": 1, "IQ3_S": 1, "TQ1_0": -1, "TQ2_0": -1},
}
"""Type of blocks -> how many float16 numbers a block begins with; it ends with negative ones."""
MODULES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}


def dense_config(family: str = "llama", **fields: Any) -> dict[str, Any]:
    """config.json of a small dense model, whose rows are whole blocks of 256."""
    config = {
        "model_type": family,
        "vocab_size": 300,
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_hidden_layers": 2,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    return config | fields


def random_blocks(kind: str, rows: int, columns: int, seed: int = 0) -> np.ndarray:
    """Random bytes of a type, uint8 [rows, bytes of a row], with scales of a usual size."""
    values, size = GGML_QUANT_SIZES[GGMLQuantizationType[kind]]
    random = np.random.default_rng(seed)
    blocks = random.integers(0, 256, (rows, columns // values, size), dtype=np.uint8)
    count = abs(KINDS[kind])
    scales = (random.uniform(-1, 1, (*blocks.shape[:2], count)) * 0.002).astype(np.float16)
    where = slice(size - 2 * count, size) if KINDS[kind] < 0 else slice(0, 2 * count)
    blocks[:, :, where] = scales.view(np.uint8).reshape(*blocks.shape[:2], -1)
    return blocks.reshape(rows, -1)


def stored(values: np.ndarray, kind: str, seed: int = 0) -> np.ndarray:
    """Values in a type; those that the package cannot write are any blocks."""
    if kind.endswith("_K") or kind.startswith(("IQ", "TQ")):
        return random_blocks(kind, *values.shape, seed=seed)
    return quantize(values, GGMLQuantizationType[kind])


def alternated(values: np.ndarray, head_rows: int) -> np.ndarray:
    """Rows as llama.cpp's converter puts those of q and k."""
    shape = values.shape
    pairs = values.reshape(shape[0] // head_rows, 2, head_rows // 2, *shape[1:])
    return pairs.swapaxes(1, 2).reshape(shape)


def in_order(values: np.ndarray, head_rows: int) -> np.ndarray:
    """The opposite, by index."""
    half = head_rows // 2
    rows = np.arange(len(values))
    within = rows % head_rows
    return values[rows - within + within % half * 2 + within // half]


def gguf_name(name: str) -> str:
    """The name that llama.cpp's converter gives a tensor."""
    if name in NAMES:
        return NAMES[name]
    _, _, layer, rest = name.split(".", 3)
    module, part = rest.rsplit(".", 1)
    return f"blk.{layer}.{MODULES[module]}.{part}"


def write_models(
    folder: Path,
    config: Mapping[str, Any],
    kind_of: Callable[[str], str] = lambda name: "F32",
    metadata: Mapping[str, Any] | None = None,
    extra: Mapping[str, np.ndarray] | None = None,
) -> tuple[Path, Path]:
    """A GGUF file, and a directory of float32 with the values that its blocks stand for.

    `kind_of` a matrix of the model is its type; vectors are F32. `metadata` adds keys, and drops
    those that are None.
    """
    plain = write_random_checkpoint(folder / "plain", config, element="F32")
    path = folder / "model.gguf"
    family = config["model_type"]
    writer = gguf.GGUFWriter(path, family)
    keys: dict[str, Any] = {f"{family}.{key}": config[field] for field, key in KEYS.items()}
    keys |= {
        f"{family}.attention.key_length": config["head_dim"],
        f"{family}.attention.value_length": config["head_dim"],
        "tokenizer.ggml.bos_token_id": config["bos_token_id"],
        "tokenizer.ggml.eos_token_id": config["eos_token_id"],
    }
    if family == "minicpm":
        keys |= scales_of_minicpm(config)
    for key, value in (keys | dict(metadata or {})).items():
        add(writer, key, value)
    values: dict[str, np.ndarray] = {}
    for index, (name, tensor) in enumerate(load_file(plain / "model.safetensors").items()):
        kind = kind_of(name) if tensor.ndim == 2 else "F32"
        mixed = family in ("llama", "minicpm") and name.split(".")[-2] in ("q_proj", "k_proj")
        tensor = alternated(tensor, config["head_dim"]) if mixed else tensor
        data = stored(tensor, kind, seed=index)
        found = dequantize(data, GGMLQuantizationType[kind])
        values[name] = in_order(found, config["head_dim"]) if mixed else found
        raw = None if kind == "F32" else GGMLQuantizationType[kind]
        writer.add_tensor(gguf_name(name), data, raw_dtype=raw)
    for name, data in (extra or {}).items():
        writer.add_tensor(name, data)
    finish(writer)
    save_file(values, plain / "model.safetensors")
    (plain / "config.json").write_text(json.dumps(config))
    return path, plain


def scales_of_minicpm(config: Mapping[str, Any]) -> dict[str, float]:
    """What llama.cpp's converter makes of the scales."""
    return {
        "minicpm.embedding_scale": float(config["scale_emb"]),
        "minicpm.residual_scale": config["scale_depth"] / config["num_hidden_layers"] ** 0.5,
        "minicpm.logit_scale": config["hidden_size"] / config["dim_model_base"],
    }


def minicpm_config(**fields: Any) -> dict[str, Any]:
    """A dense model with the scales of MiniCPM."""
    scales = {"scale_emb": 12, "scale_depth": 1.4, "dim_model_base": 64}
    return dense_config("minicpm", **(scales | fields))


def add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    """A key of the metadata, in the type of its value."""
    kinds = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32}
    kinds |= {str: writer.add_string, list: writer.add_array}
    if value is not None:
        kinds[type(value)](key, value)


def finish(writer: gguf.GGUFWriter) -> None:
    """Write the file."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
