"""Small dense models of shapes that the golden checkpoints do not have, by name.

Their weights are seeded (`random_checkpoint`), so that only what transformers computes with them
is stored. `record.py` writes it down.
"""

from typing import Any

import numpy as np

VOCABULARY = 61
LENGTH = 72
"""Tokens of the prompt: beyond the original length of every scaled model, and one page."""
ROWS = (0, 31, 63, 64, LENGTH - 1)
"""Rows of the prompt whose logits are recorded."""
DECODED = 4
"""Tokens that are decoded after the prompt, each the likeliest one."""
SEED = 11

_SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "num_hidden_layers": 2,
    "intermediate_size": 56,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
}
_YARN: dict[str, Any] = {"factor": 4.0, "original_max_position_embeddings": 32}
_LONG: dict[str, Any] = {
    "rope_type": "longrope",
    "short_factor": [1.0 + 0.05 * index for index in range(6)],
    "long_factor": [1.0 + 1.5 * index for index in range(6)],
    "original_max_position_embeddings": 74,
}


def _model(family: str, hidden: int, heads: tuple[int, int], **fields: Any) -> dict[str, Any]:
    sizes = {
        "hidden_size": hidden,
        "num_attention_heads": heads[0],
        "num_key_value_heads": heads[1],
    }
    return {"model_type": family} | _SHAPE | sizes | fields


CASES: dict[str, dict[str, Any]] = {
    "llama-all-biases": _model(
        "llama", 72, (9, 3), head_dim=10, attention_bias=True, mlp_bias=True, rope_theta=5e4
    ),
    "llama-attention-biases-multi-query-tied": _model(
        "llama", 40, (5, 1), attention_bias=True, tie_word_embeddings=True
    ),
    "llama-linear": _model(
        "llama", 48, (4, 4), rope_theta=5e5, rope_scaling={"type": "linear", "factor": 2.5}
    ),
    "llama-llama3-length-outside": _model(
        "llama",
        48,
        (4, 2),
        original_max_position_embeddings=64,
        rope_parameters={
            **{"rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0},
            **{"low_freq_factor": 1.0, "high_freq_factor": 4.0},
        },
    ),
    "llama-yarn": _model(
        "llama", 64, (4, 2), rope_parameters={"rope_type": "yarn", "rope_theta": 1e3} | _YARN
    ),
    "llama-yarn-not-truncated": _model(
        "llama",
        64,
        (4, 2),
        rope_theta=100.0,
        rope_scaling={
            **{"rope_type": "yarn", "truncate": False, "mscale": 1.0, "mscale_all_dim": 0.25},
            **{"beta_fast": 12.0, "beta_slow": 0.5},
            **_YARN,
        },
    ),
    "llama-yarn-attention-factor": _model(
        "llama",
        64,
        (4, 2),
        rope_scaling={"type": "yarn", "factor": 2.0, "attention_factor": 1.25},
    ),
    "llama-long-rope": _model("llama", 60, (5, 5), head_dim=12, rope_scaling=_LONG),
    "qwen2": _model(
        "qwen2", 56, (7, 1), tie_word_embeddings=True, rope_theta=1e6, sliding_window=32
    ),
    "qwen2-yarn": _model("qwen2", 80, (10, 2), head_dim=24, rope_scaling={"type": "yarn"} | _YARN),
    "qwen3-biases-linear": _model(
        "qwen3",
        48,
        (6, 2),
        head_dim=20,
        attention_bias=True,
        rope_parameters={"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4},
    ),
    "qwen3-yarn-tied": _model(
        "qwen3",
        48,
        (3, 1),
        head_dim=32,
        tie_word_embeddings=True,
        rope_scaling={"rope_type": "yarn"} | _YARN,
    ),
}
"""Name -> config.json."""


def prompt(name: str) -> list[int]:
    """The token ids of a case."""
    generator = np.random.default_rng([SEED, list(CASES).index(name)])
    return generator.integers(0, VOCABULARY, LENGTH).tolist()
