"""Configs of small dense models, and the errors that they give."""

from __future__ import annotations

from typing import Any

import pytest

from sala_compile.runtime.errors import ConfigError
from sala_compile.sala_ir.frontends import frontend_for

DENSE = ("llama", "qwen2", "qwen3")
"""Families without any mixer of their own."""

LONG = {
    "rope_type": "longrope",
    "short_factor": [1.0 + 0.1 * index for index in range(8)],
    "long_factor": [1.0 + 2.0 * index for index in range(8)],
    "original_max_position_embeddings": 40,
}
"""A LongRoPE scaling of heads of 16."""


def small(family: str, **fields: Any) -> dict[str, Any]:
    """A config.json with nothing but what has no default; None leaves a field out."""
    config = {
        "model_type": family,
        "vocab_size": 131,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
    } | fields
    return {name: value for name, value in config.items() if value is not None}


def refused(raw: dict[str, Any]) -> ConfigError:
    """The error that a config gives."""
    with pytest.raises(ConfigError) as caught:
        frontend_for(raw).parse_config(raw, file="config.json")
    return caught.value
