"""A Transformer with the needle example's tokenizer and about as many parameters."""

from typing import Any

from examples.needle.lessons import Stage
from examples.needle.tokenizer import BOS, EOS, vocabulary

LENGTH = 256
"""Tokens of the longest texts that the twin is trained on."""
STAGES = (
    Stage(length=64, batch=16, steps=600, needles=2, questions=2, rate=2e-3, enough=0.97,
          copying=0.5),
    Stage(length=128, batch=8, steps=300, needles=5, questions=5, rate=1.5e-3, enough=0.98,
          copying=0.25),
    Stage(length=LENGTH, batch=4, steps=300, needles=8, questions=7, rate=1e-3, last_rate=1e-5,
          copying=0.1),
)  # fmt: skip
"""Texts of needles and questions, and texts that repeat themselves, as those of the example."""


def config() -> dict[str, Any]:
    """Return config.json: eight layers of dense attention with norms of queries and keys."""
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "vocab_size": len(vocabulary()),
        "hidden_size": 192,
        "intermediate_size": 512,
        "num_hidden_layers": 8,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "attention_bias": False,
        "hidden_act": "silu",
        "max_position_embeddings": LENGTH,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "bos_token_id": BOS,
        "eos_token_id": list(EOS),
        "dtype": "float32",
    }
