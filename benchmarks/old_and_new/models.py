"""The models that two commits are compared with: checkpoints, and what they are compiled to."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RELEASED = ROOT / "examples" / "released-config.json"
SPARSE, LIGHTNING = "minicpm4", "lightning-attn"
PORTABLE = ("--target", "cpu:x86-64-v3")
FLOAT32 = ("--dtype", "float32")

STORED = {
    "tiny-a": ROOT / "tests" / "golden" / "data" / "sala-tiny-a",
    "tiny-b": ROOT / "tests" / "golden" / "data" / "sala-tiny-b",
    "needle": ROOT / "examples" / "needle" / "checkpoint",
}
"""Checkpoints of the repository."""

_SMALL = {
    "vocab_size": 517,
    "hidden_size": 256,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "mixer_types": [SPARSE, LIGHTNING, LIGHTNING, SPARSE],
    "scale_emb": 8,
    "dim_model_base": 64,
    "lightning_nh": 4,
    "lightning_nkv": 4,
    "lightning_head_dim": 64,
    "eos_token_id": [2],
}
_SELECTION = {
    "kernel_size": 32,
    "kernel_stride": 16,
    "init_blocks": 1,
    "block_size": 64,
    "window_size": 128,
    "topk": 4,
    "use_nope": False,
    "dense_len": 256,
}
"""Of 16 blocks of the context 4 are read."""

RANDOM: dict[str, dict[str, Any]] = {
    # Heads, groups and blocks of the released model.
    "released": _SMALL
    | {"num_attention_heads": 16, "num_key_value_heads": 1, "sparse_config": _SELECTION},
    "odd": _SMALL
    | {
        "hidden_size": 72,
        "num_attention_heads": 12,
        "num_key_value_heads": 4,
        "head_dim": 10,
        "attention_bias": True,
        "attn_use_rope": True,
        "lightning_nh": 6,
        "lightning_nkv": 3,
        "lightning_head_dim": 18,
        "lightning_scale": "1/d",
        "tie_word_embeddings": True,
        "sparse_config": _SELECTION
        | {"kernel_size": 8, "kernel_stride": 4, "block_size": 16, "window_size": 32},
    },
    "plain": _SMALL
    | {
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "attn_use_output_gate": False,
        "use_output_gate": False,
        "use_output_norm": False,
        "qk_norm": False,
        "lightning_use_rope": False,
        "sparse_config": _SELECTION | {"dense_len": 0},
    },
}
"""Random checkpoints: what differs from the released configuration."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A checkpoint and how it is compiled."""

    name: str
    checkpoint: str
    options: tuple[str, ...] = ()
    seeded: bool = False
    """Whether the weights are made when the artifact is loaded."""

    @property
    def is_float32(self) -> bool:
        """Whether it computes in float32: other cuts then agree to 1e-4."""
        return FLOAT32[1] in self.options

    @property
    def is_dense(self) -> bool:
        """Whether its sparse layers always read everything, and select nothing."""
        return "dense" in self.options

    @property
    def arguments(self) -> tuple[str, ...]:
        """Of sala-compile, but the checkpoint and the output."""
        return ("--context", "1K", "--chunk", "128", *self.options)


def _quantized(*options: str) -> tuple[str, ...]:
    return ("--quantize", *options, "--rounding", "nearest")


_MODELS: dict[str, tuple[str, tuple[str, ...]]] = {
    "float32": ("released", FLOAT32),
    "float32 dense": ("released", (*FLOAT32, "--attention", "dense")),
    "float32 sparse": ("released", (*FLOAT32, "--attention", "sparse")),
    "bfloat16": ("released", ()),
    "bfloat16 dense": ("released", ("--attention", "dense")),
    "bfloat16 sparse": ("released", ("--attention", "sparse")),
    "int4-g128": ("released", _quantized("int4-g128")),
    "int4-g32": ("released", _quantized("int4-g32")),
    "int8": ("released", _quantized("int8")),
    "int4-g128 int8 rows": ("released", (*_quantized("int4-g128"), "--activations", "int8")),
    "int8 int8 rows": ("released", (*_quantized("int8"), "--activations", "int8")),
    "float32 odd": ("odd", FLOAT32),
    "bfloat16 odd": ("odd", ()),
    "float32 plain": ("plain", FLOAT32),
    "bfloat16 plain": ("plain", ()),
    "tiny-a float32": ("tiny-a", FLOAT32),
    "tiny-a bfloat16": ("tiny-a", ()),
    "tiny-b float32": ("tiny-b", FLOAT32),
    "tiny-b bfloat16": ("tiny-b", ()),
    "needle": ("needle", ()),
}


def models() -> list[Compiled]:
    """All that are compared: on this machine's instructions and on portable ones."""
    pairs = [
        Compiled(f"{name} {kind}", checkpoint, (*options, *target))
        for name, (checkpoint, options) in _MODELS.items()
        for kind, target in (("native", ()), ("portable", PORTABLE))
    ]
    errors_cancel = ("--quantize", "int4-g32", "--calibration-tokens", "256")
    return [
        *pairs,
        Compiled("needle int4-g32 gptq", "needle", errors_cancel),
        Compiled("seeded int4-g128", "released", _quantized("int4-g128")[:2], seeded=True),
    ]


def config_of(name: str) -> dict[str, Any]:
    """The config.json of a checkpoint."""
    if name in STORED:
        return json.loads((STORED[name] / "config.json").read_text())
    return json.loads(RELEASED.read_text()) | RANDOM[name]
