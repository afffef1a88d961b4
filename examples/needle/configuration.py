"""The example's model: the released structure at small size."""

from typing import Any

from examples.needle.tokenizer import BOS, EOS, vocabulary

SPARSE, LIGHTNING = "minicpm4", "lightning-attn"


def config() -> dict[str, Any]:
    """Return config.json: one sparse layer to three Lightning layers, first and last sparse."""
    return {
        "architectures": ["MiniCPMSALAForCausalLM"],
        "model_type": "minicpm_sala",
        "vocab_size": len(vocabulary()),
        "hidden_size": 192,
        "intermediate_size": 384,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "initializer_range": 0.1,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "rope_scaling": None,
        "scale_emb": 12,
        "scale_depth": 1.4,
        "dim_model_base": 64,
        "mup_denominator": 32,
        "mixer_types": [SPARSE, *[LIGHTNING] * 6, SPARSE],
        "attn_use_rope": False,
        "attn_use_output_gate": True,
        "lightning_nh": 8,
        "lightning_nkv": 8,
        "lightning_head_dim": 16,
        "lightning_scale": "1/sqrt(d)",
        "lightning_use_rope": True,
        "qk_norm": True,
        "use_output_norm": True,
        "use_output_gate": True,
        "sparse_config": {
            "kernel_size": 8,
            "kernel_stride": 4,
            "block_size": 16,
            "init_blocks": 1,
            "window_size": 64,
            "topk": 12,
            "dense_len": 512,
            "use_nope": False,
        },
        "tie_word_embeddings": False,
        "bos_token_id": BOS,
        "eos_token_id": list(EOS),
        "pad_token_id": EOS[0],
        "pretraining_tp": 1,
        "use_cache": True,
        "dtype": "bfloat16",
    }
