"""Small checkpoints of every shape that a configuration can ask for."""

from pathlib import Path
from typing import Any

from sala_compile.sala_ir.checkpoint.checkpoint import Checkpoint
from sala_compile.sala_ir.checkpoint.random_checkpoint import write_random_checkpoint
from sala_compile.sala_ir.frontends import AttentionMode, frontend_for
from sala_compile.sala_ir.interpreter import ReferenceModel

SPARSE, LIGHTNING = "minicpm4", "lightning-attn"

SPARSE_CONFIG = {
    "kernel_size": 8,
    "kernel_stride": 4,
    "block_size": 16,
    "init_blocks": 1,
    "window_size": 32,
    "topk": 3,
    "dense_len": 64,
    "use_nope": False,
}
"""A sparse regime that begins at 64 tokens and leaves blocks out from 80 tokens on."""


def tiny_config(
    *,
    mixers: tuple[str, ...] = (SPARSE, LIGHTNING, SPARSE),
    heads: int = 4,
    kv_heads: int = 2,
    head_dim: int = 16,
    lightning_heads: int | None = None,
    lightning_kv_heads: int | None = None,
    lightning_head_dim: int | None = None,
    hidden: int = 64,
    intermediate: int = 96,
    vocabulary: int = 131,
    sparse: dict[str, Any] | None = None,
    tied: bool = False,
    **fields: Any,
) -> dict[str, Any]:
    """Return the config.json of a small model; `fields` replaces or adds any of its fields.

    Lightning heads follow the sparse layers' unless they are given. `sparse` changes entries of
    `SPARSE_CONFIG`. A tied model's embedding scale keeps the residual stream near 1.
    """
    base = max(hidden // 4, 1)
    lightning_heads = lightning_heads or heads
    config = {
        "architectures": ["MiniCPMSALAForCausalLM"],
        "model_type": "minicpm_sala",
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": len(mixers),
        "mixer_types": list(mixers),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "initializer_range": 0.1,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "rope_scaling": None,
        "scale_emb": hidden**0.5 * base / (2.0 * hidden) if tied else 12,
        "scale_depth": 1.4,
        "dim_model_base": base,
        "mup_denominator": 32,
        "attn_use_rope": False,
        "attn_use_output_gate": True,
        "lightning_nh": lightning_heads,
        "lightning_nkv": lightning_kv_heads or lightning_heads,
        "lightning_head_dim": lightning_head_dim or head_dim,
        "lightning_scale": "1/sqrt(d)",
        "lightning_use_rope": True,
        "qk_norm": True,
        "use_output_norm": True,
        "use_output_gate": True,
        "sparse_config": SPARSE_CONFIG | (sparse or {}),
        "tie_word_embeddings": tied,
        "bos_token_id": 1,
        "eos_token_id": [2, 3],
        "pad_token_id": 2,
        "pretraining_tp": 1,
        "use_cache": True,
        "torch_dtype": "bfloat16",
    }
    return config | fields


VARIATIONS: dict[str, dict[str, Any]] = {
    "group-1-tied": tiny_config(heads=2, kv_heads=2, tied=True),
    "group-16-head-dim-8": tiny_config(heads=16, kv_heads=1, head_dim=8),
    "heads-12-biases": tiny_config(
        heads=12, kv_heads=4, head_dim=10, hidden=72, attention_bias=True
    ),
    "head-dim-128-wide-blocks": tiny_config(
        heads=2,
        kv_heads=1,
        head_dim=128,
        sparse={"block_size": 32, "window_size": 32, "init_blocks": 2, "topk": 3, "dense_len": 100},
    ),
    "no-gates-or-norms": tiny_config(
        attn_use_output_gate=False, use_output_gate=False, use_output_norm=False, qk_norm=False
    ),
    "lightning-groups-without-rope": tiny_config(
        lightning_heads=6,
        lightning_kv_heads=3,
        lightning_head_dim=18,
        lightning_use_rope=False,
        lightning_scale="1/d",
    ),
    "hidden-unlike-heads": tiny_config(hidden=56, heads=6, kv_heads=3, head_dim=14),
    "rope-in-sparse": tiny_config(attn_use_rope=True),
    "always-sparse-by-unrotated-keys": tiny_config(
        attn_use_rope=True, sparse={"dense_len": 0, "window_size": 16, "use_nope": True}
    ),
}
"""Configurations that differ where kernels and passes can go wrong, as few as hold it all."""


def write_checkpoint(
    directory: Path,
    config: dict[str, Any] | None = None,
    *,
    seed: int = 0,
    element: str = "BF16",
    shards: int = 1,
) -> Path:
    """Write a random checkpoint (by default of `tiny_config()`) and return its directory."""
    return write_random_checkpoint(
        directory, config or tiny_config(), seed=seed, element=element, shards=shards
    )


def open_renamed(directory: Path) -> Checkpoint:
    """A checkpoint whose tensors have the names that its frontend expects."""
    checkpoint = Checkpoint.open(directory)
    frontend = frontend_for(checkpoint.config)
    return checkpoint.renamed(frontend.other_names(frontend.parse_config(checkpoint.config)))


def reference_model(
    directory: Path, *, attention: AttentionMode = AttentionMode.CONFIG, **options: Any
) -> ReferenceModel:
    """Return the captured module of a checkpoint on the interpreter, float64 unless told."""
    checkpoint = open_renamed(directory)
    frontend = frontend_for(checkpoint.config)
    config = frontend.parse_config(checkpoint.config)
    unread = {name for name in checkpoint.tensors if frontend.is_unread(name, config)}
    checkpoint.check(frontend.expected_tensors(config), unread)
    return ReferenceModel(frontend.build_module(config, attention), checkpoint, **options)
