"""Rules of fields that configs of many families have: used, without effect, or refused.

Fields that change the mathematics of some family are here at the values at which they do not: a
config that asks for a soft cap or for experts is no model of a family that does not use them.
"""

from __future__ import annotations

from typing import Any

from sala_compile.runtime.common.json_text import is_list
from sala_compile.sala_ir.field_rules import NO_EFFECT, USED, FieldRule, FieldRules, only

_USED = (
    *("model_type", "quantization_config", "compression_config", "vocab_size", "hidden_size"),
    *("intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"),
    *("head_dim", "hidden_act", "attention_bias", "rms_norm_eps", "tie_word_embeddings"),
    *("rope_theta", "rope_scaling", "rope_parameters", "max_position_embeddings"),
    *("original_max_position_embeddings",),
    *("bos_token_id", "eos_token_id", "pad_token_id", "dtype", "torch_dtype"),
)

_NO_EFFECT = (
    # of training: initial values, dropout, the loss
    *("initializer_range", "rand_init", "attention_dropout", "hidden_dropout"),
    *("shift_labels", "pretraining_tp", "router_aux_loss_coef", "gradient_checkpointing"),
    # of the libraries that read and write it
    *("architectures", "auto_map", "transformers_version", "tokenizer_class", "name_or_path"),
    *("use_cache", "return_dict", "output_attentions", "output_hidden_states", "torchscript"),
    *("problem_type", "task_specific_params", "finetuning_task", "id2label", "label2id"),
    *("prefix", "chunk_size_feed_forward", "sep_token_id", "decoder_start_token_id"),
    # of drafting, with layers of its own
    *("num_nextn_predict_layers",),
)


def _is_full(value: Any) -> bool:
    return is_list(value) and all(item == "full_attention" for item in value)


COMMON: FieldRules = {
    **dict.fromkeys(_USED, USED),
    **dict.fromkeys(_NO_EFFECT, NO_EFFECT),
    # of the transformers library
    "is_decoder": only(True, False),  # a decoder in either spelling
    "is_encoder_decoder": only(False),
    "add_cross_attention": only(False),
    "cross_attention_hidden_size": only(0),
    "tie_encoder_decoder": only(False),
    "pruned_heads": only({}),
    "partial_rotary_factor": only(1.0),
    "rotary_pct": only(1.0),
    "rope_local_base_freq": only(),
    "rope_interleaved": only(False),
    # of some families
    "attention_multiplier": only(),
    "attn_logit_softcapping": only(),
    "clip_qkv": only(),
    "embedding_multiplier": only(1.0),
    "final_logit_softcapping": only(),
    "logits_scaling": only(1.0),
    "logit_scale": only(1.0),
    "logits_soft_cap": only(),
    "mlp_bias": only(False),
    "kv_lora_rank": only(),
    "no_rope_layers": only(),
    "query_pre_attn_scalar": only(),
    "residual_multiplier": only(1.0),
    # experts
    **dict.fromkeys(("num_experts", "num_local_experts"), only(0, 1)),
    **dict.fromkeys(("n_routed_experts", "moe_num_experts"), only(0, 1)),
    # windows and chunks of attention
    "layer_types": FieldRule(_is_full, 'a list of "full_attention"'),
    "use_sliding_window": only(False),
    **dict.fromkeys(("sliding_window", "sliding_window_size", "sliding_window_pattern"), only()),
    **dict.fromkeys(("attention_window_size", "attention_chunk_size"), only()),
    # sinks of attention
    **dict.fromkeys(("attention_sinks", "use_attention_sinks"), only(False)),
    **dict.fromkeys(("num_attention_sinks", "attention_sink_size", "num_sink_tokens"), only(0)),
}
"""Field -> what it may hold; a family's table begins with these and replaces some."""
