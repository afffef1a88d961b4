"""Names of tensors in GGUF, and the names that checkpoints of Hugging Face have for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

EMBEDDING = "token_embd.weight"
HEAD = "output.weight"
FREQUENCY_FACTORS = "rope_freqs.weight"
"""What the rotary frequencies are divided by; a part of the configuration."""
SHORT_FACTORS, LONG_FACTORS = "rope_factors_short.weight", "rope_factors_long.weight"
"""The same for calls up to the original length, and for longer ones."""
FACTORS = (FREQUENCY_FACTORS, SHORT_FACTORS, LONG_FACTORS)

_OUTER = {
    EMBEDDING: "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    HEAD: "lm_head.weight",
}
_IN_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


@dataclass(frozen=True, slots=True)
class TensorNames:
    """Names of an architecture; the rows of q and k alternate within a head where `alternates`."""

    alternates: bool

    def of(self, name: str) -> str:
        """The name of a tensor of a model; itself where it has no other."""
        if name in _OUTER:
            return _OUTER[name]
        block, _, rest = name.partition(".")
        layer, _, rest = rest.partition(".")
        module, _, part = rest.rpartition(".")
        if block != "blk" or module not in _IN_LAYER:
            return name
        return f"model.layers.{layer}.{_IN_LAYER[module]}.{part}"

    def head_rows(self, name: str, head_dim: int) -> int:
        """Rows of a head whose halves alternate in a tensor; 0 where rows are in order."""
        module = name.rpartition(".")[0].rpartition(".")[2]
        return head_dim if self.alternates and module in ("attn_q", "attn_k") else 0


NAMES: Mapping[str, TensorNames] = {
    "llama": TensorNames(alternates=True),
    "minicpm": TensorNames(alternates=True),
    "qwen2": TensorNames(alternates=False),
    "qwen3": TensorNames(alternates=False),
}
"""Architecture of a file, which is a model_type as well -> the names of its tensors."""
