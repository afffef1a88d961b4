"""The configuration of a model from metadata, by the names that config.json has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sala_compile.runtime.common.json_text import quoted
from sala_compile.runtime.errors import ConfigError
from sala_compile.sala_ir.checkpoint.gguf.container import Container
from sala_compile.sala_ir.checkpoint.gguf.end_tokens import end_token_ids
from sala_compile.sala_ir.checkpoint.gguf.minicpm_scales import scales_of
from sala_compile.sala_ir.checkpoint.gguf.tensor_names import (
    EMBEDDING,
    FACTORS,
    FREQUENCY_FACTORS,
    HEAD,
    LONG_FACTORS,
    SHORT_FACTORS,
)
from sala_compile.sala_ir.field_rules import NO_EFFECT, USED, FieldRules, check_fields, only

_SIZES = {
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
}
"""Keys that every model has."""
_OPTIONAL = {
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "context_length": "max_position_embeddings",
    "rope.freq_base": "rope_theta",
}
_SCALING = {
    "rope.scaling.factor": "factor",
    "rope.scaling.original_context_length": "original_max_position_embeddings",
    "rope.scaling.yarn_beta_fast": "beta_fast",
    "rope.scaling.yarn_beta_slow": "beta_slow",
}
_RULES: FieldRules = {
    **dict.fromkeys((*_SIZES, *_OPTIONAL, *_SCALING), USED),
    **dict.fromkeys(("attention.value_length", "rope.dimension_count"), USED),
    "vocab_size": NO_EFFECT,  # the embedding tells it
    "rope.scaling.type": only("none", "linear", "yarn"),
    "rope.scaling.attn_factor": only(1.0),
    "rope.scaling.yarn_attn_factor": only(1.0),
    "rope.scaling.yarn_ext_factor": only(1.0),
    "rope.scaling.finetuned": NO_EFFECT,
    "rope.scale_linear": USED,
    "attention.sliding_window": only(0),
    "attention.causal": only(True),
    "attention.clamp_kqv": only(0.0),
    "attention.max_alibi_bias": only(0.0),
    "attention.scale": only(),
    "attn_logit_softcapping": only(),
    "final_logit_softcapping": only(),
    "embedding_scale": only(1.0),
    "residual_scale": only(1.0),
    "logit_scale": only(1.0),
    "expert_count": only(0),
    "expert_used_count": only(0),
    "expert_shared_count": only(0),
    "use_parallel_residual": only(False),
    "tensor_data_layout": only("Meta AI original pth"),
}
"""Keys of an architecture, without its name -> what they may hold."""
_MINICPM: FieldRules = {
    **_RULES,
    **dict.fromkeys(("embedding_scale", "residual_scale", "logit_scale"), USED),
    "rope.scaling.type": only("none", "linear", "longrope"),
}


def model_config(
    container: Container, architecture: str, factors: Callable[[str], np.ndarray]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The config of a model, and keys of its architecture that are not known.

    `factors` reads a tensor of what divides the rotary frequencies. Raises ConfigError for a key
    that is missing or asks for what no frontend has.
    """
    prefix = f"{architecture}."
    items = container.metadata.items()
    keys = {
        key.removeprefix(prefix): _scalar(value) for key, value in items if key.startswith(prefix)
    }
    place = f"{container.path}: {architecture}"
    rules = _MINICPM if architecture == "minicpm" else _RULES
    unknown = check_fields(keys, rules, place, ConfigError)
    if EMBEDDING not in container.tensors:
        raise container.error(EMBEDDING, "the tensor is missing", "every tensor of the model")
    config: dict[str, Any] = {
        "model_type": architecture,
        "vocab_size": container.tensors[EMBEDDING].shape[0],
        "tie_word_embeddings": HEAD not in container.tensors,
    }
    for key, field in _SIZES.items():
        if key not in keys:
            raise ConfigError(
                f"{prefix}{key} is missing", where=str(container.path), expected="a value"
            )
        config[field] = keys[key]
    config |= {field: keys[key] for key, field in _OPTIONAL.items() if key in keys}
    config |= _rope(container, keys, factors)
    if architecture == "minicpm":
        config |= scales_of(config, keys)
    if architecture == "llama" and "blk.0.attn_q.bias" in container.tensors:
        config["attention_bias"] = True
    _check_heads(config, keys, place)
    begin = container.metadata.get("tokenizer.ggml.bos_token_id")
    config |= {"bos_token_id": begin, "eos_token_id": end_token_ids(container)}
    return config, unknown


def head_dim(config: dict[str, Any]) -> int:
    """Rows of a head, as the frontends have it; 0 where the sizes tell none."""
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    known = config.get("head_dim")
    if known is None and type(heads) is int and type(hidden) is int and heads > 0:
        known = hidden // heads
    return known if type(known) is int and known > 0 else 0


def _scalar(value: Any) -> Any:
    """A float as the decimal that was rounded to float32."""
    return float(str(np.float32(value))) if isinstance(value, float) else value


def _rope(
    container: Container,
    keys: dict[str, Any],
    factors: Callable[[str], np.ndarray],
) -> dict[str, Any]:
    """The scaling of rotary frequencies, of one kind."""
    kind = str(keys.get("rope.scaling.type", "linear")).lower()
    scaling = {field: keys[key] for key, field in _SCALING.items() if key in keys}
    stored = [name for name in FACTORS if name in container.tensors]
    if stored and (kind == "yarn" or _linear(keys)):
        raise container.error(
            stored[0],
            f"there are factors of frequencies, and the scaling {quoted(kind)}",
            "one of the two",
        )
    if stored or kind == "longrope":
        return {"rope_scaling": _long_rope(container, stored, keys, factors)}
    return {"rope_scaling": {"rope_type": kind, **scaling} if kind == "yarn" else _linear(keys)}


def _long_rope(
    container: Container,
    stored: list[str],
    keys: dict[str, Any],
    factors: Callable[[str], np.ndarray],
) -> dict[str, Any]:
    """Factors of the frequencies: for all calls, or for short and for long ones."""
    length = keys.get("context_length")
    if stored == [FREQUENCY_FACTORS]:
        each = factors(FREQUENCY_FACTORS).tolist()
        # divided for calls of all lengths: what is short and what is long does not matter
        return {
            "rope_type": "longrope",
            "short_factor": each,
            "long_factor": each,
            "attention_factor": 1.0,
            "original_max_position_embeddings": length,
        }
    if stored != [SHORT_FACTORS, LONG_FACTORS]:
        raise container.error(
            stored[0] if stored else LONG_FACTORS,
            f"of the factors of frequencies there are {', '.join(stored) or 'none'}",
            f"{FREQUENCY_FACTORS} alone, or {SHORT_FACTORS} and {LONG_FACTORS}",
        )
    return {
        "rope_type": "longrope",
        "short_factor": factors(SHORT_FACTORS).tolist(),
        "long_factor": factors(LONG_FACTORS).tolist(),
        "original_max_position_embeddings": keys.get(
            "rope.scaling.original_context_length", length
        ),
    }


def _linear(keys: dict[str, Any]) -> dict[str, Any] | None:
    """A factor for all frequencies, which a file may name without a kind of scaling."""
    factor = keys.get("rope.scaling.factor", keys.get("rope.scale_linear", 1.0))
    is_off = str(keys.get("rope.scaling.type", "linear")).lower() == "none"
    return None if is_off or factor in (0.0, 1.0) else {"rope_type": "linear", "factor": factor}


def _check_heads(config: dict[str, Any], keys: dict[str, Any], place: str) -> None:
    """Refuse rotations of a part of a head, and values of another size than keys."""
    size = head_dim(config)
    for key in ("rope.dimension_count", "attention.value_length"):
        if keys.get(key, size) != size:
            raise ConfigError(
                f"{key} is {quoted(keys[key])}",
                where=f"{place}.{key}",
                expected=f"{size}, the size of a head",
                fix="use a checkpoint whose whole heads are rotated, values as wide as keys",
            )
    config["head_dim"] = size
