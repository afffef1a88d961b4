"""Names and shapes of the tensors of a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator

from sala_compile.sala_ir.frontends.minicpm_sala.config import MiniCPMSalaConfig, MixerType

EMBEDDING = "model.embed_tokens.weight"
HEAD = "lm_head.weight"
FINAL_NORM = "model.norm.weight"

Shape = tuple[int, ...]


def layer_prefix(layer: int) -> str:
    """What the tensor names of a layer begin with, the dot included."""
    return f"model.layers.{layer}."


def expected_tensors(config: MiniCPMSalaConfig) -> dict[str, Shape]:
    """Name and shape of every tensor that a checkpoint with this config holds, in model order."""
    tensors: dict[str, Shape] = {EMBEDDING: (config.vocab_size, config.hidden_size)}
    for layer, mixer in enumerate(config.mixer_types):
        prefix = layer_prefix(layer)
        tensors |= {prefix + name: shape for name, shape in _layer_tensors(config, mixer)}
    tensors[FINAL_NORM] = (config.hidden_size,)
    if not config.tie_word_embeddings:
        tensors[HEAD] = (config.vocab_size, config.hidden_size)
    return tensors


def tied_tensors(config: MiniCPMSalaConfig) -> dict[str, str]:
    """Tensors that a checkpoint may hold beside the expected, each equal to one of those."""
    return {HEAD: EMBEDDING} if config.tie_word_embeddings else {}


def _layer_tensors(config: MiniCPMSalaConfig, mixer: MixerType) -> Iterator[tuple[str, Shape]]:
    hidden, inner = config.hidden_size, config.intermediate_size
    yield "input_layernorm.weight", (hidden,)
    for name, shape in _projections(config, mixer):
        yield f"self_attn.{name}.weight", shape
        if config.attention_bias:
            yield f"self_attn.{name}.bias", shape[:1]
    if mixer is MixerType.LIGHTNING:
        for name, size in _lightning_norms(config):
            yield f"self_attn.{name}.weight", (size,)
    yield "post_attention_layernorm.weight", (hidden,)
    yield "mlp.gate_proj.weight", (inner, hidden)
    yield "mlp.up_proj.weight", (inner, hidden)
    yield "mlp.down_proj.weight", (hidden, inner)


def _projections(config: MiniCPMSalaConfig, mixer: MixerType) -> Iterator[tuple[str, Shape]]:
    hidden = config.hidden_size
    if mixer is MixerType.SPARSE:
        heads, kv_heads, size = (
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
        )
        gate = "o_gate" if config.attn_use_output_gate else None
    else:
        heads, kv_heads, size = (
            config.lightning_nh,
            config.lightning_nkv,
            config.lightning_head_dim,
        )
        gate = "z_proj" if config.use_output_gate else None
    yield "q_proj", (heads * size, hidden)
    yield "k_proj", (kv_heads * size, hidden)
    yield "v_proj", (kv_heads * size, hidden)
    if gate is not None:
        yield gate, (heads * size, hidden)
    yield "o_proj", (hidden, heads * size)


def _lightning_norms(config: MiniCPMSalaConfig) -> Iterator[tuple[str, int]]:
    if config.qk_norm:
        yield "q_norm", config.lightning_head_dim
        yield "k_norm", config.lightning_head_dim
    if config.use_output_norm:
        yield "o_norm", config.lightning_nh * config.lightning_head_dim
