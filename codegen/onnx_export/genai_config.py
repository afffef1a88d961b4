"""genai_config.json: what onnxruntime-genai needs to generate with an exported model."""

from collections.abc import Mapping
from typing import Any

from xdsl.dialects.builtin import ModuleOp

from sala_compile.codegen.onnx_export.batch_values import ATTENTION_MASK, CALL_LENGTHS, INPUT_IDS
from sala_compile.codegen.onnx_export.interface import LOGITS
from sala_compile.codegen.plan import ModelSource
from sala_compile.sala_ir.dialect import (
    EmbeddingOp,
    SoftmaxAttentionOp,
    StateType,
    columns_of,
)

GENAI_CONFIG = "genai_config.json"
KNOWN_TYPES = ("llama", "qwen2", "qwen3")
"""Families that onnxruntime-genai knows by these names; it treats others like llama."""
DEFAULT_CONTEXT = 32768
"""Tokens of a sequence at most, where the configuration does not say it."""


def why_not_genai(captured: ModuleOp, inputs: set[str]) -> str | None:
    """Why onnxruntime-genai cannot run the model; None if it can.

    It feeds token ids, a mask, and keys and values that are alike in every layer.
    """
    if CALL_LENGTHS in inputs:
        return f"it cannot give the input {CALL_LENGTHS}"
    attention = [op for op in captured.walk() if isinstance(op, SoftmaxAttentionOp)]
    (function,) = captured.ops
    states = [a for a in function.regions[0].block.args if isinstance(a.type, StateType)]
    if len(states) > len(attention):
        return "it has no recurrent states, which the model's other layers keep"
    if len({op.heads.data for op in attention}) > 1:
        return "its layers have one number of heads, and those of the model differ"
    return None


def genai_config(source: ModelSource, model_name: str) -> Mapping[str, Any]:
    """The document for a model that `why_not_genai` has nothing against."""
    facts, captured = source.facts, source.captured
    attention = [op for op in captured.walk() if isinstance(op, SoftmaxAttentionOp)]
    heads = attention[0].heads.data
    embedding = next(op for op in captured.walk() if isinstance(op, EmbeddingOp))
    (function,) = captured.ops
    last = function.regions[0].block.last_op
    assert last is not None, "a step returns its logits"
    context = facts.trained_length or DEFAULT_CONTEXT
    ends = list(source.end_tokens)
    begin = facts.begin_token
    return {
        "model": {
            "type": facts.family if facts.family in KNOWN_TYPES else "llama",
            "vocab_size": columns_of(last.operands[0]),
            "context_length": context,
            **({} if begin is None else {"bos_token_id": begin}),
            "eos_token_id": ends[0] if len(ends) == 1 else ends,
            "pad_token_id": ends[0] if ends else 0,
            "decoder": {
                "filename": model_name,
                "session_options": {"provider_options": []},
                "hidden_size": columns_of(embedding.result),
                "head_size": heads.head_dim,
                "num_attention_heads": heads.num_heads,
                "num_key_value_heads": heads.kv_heads,
                "num_hidden_layers": len(attention),
                "inputs": {
                    "input_ids": INPUT_IDS,
                    "attention_mask": ATTENTION_MASK,
                    "past_key_names": "past_key_values.%d.key",
                    "past_value_names": "past_key_values.%d.value",
                },
                "outputs": {
                    "logits": LOGITS,
                    "present_key_names": "present.%d.key",
                    "present_value_names": "present.%d.value",
                },
            },
        },
        "search": {"max_length": context, "past_present_share_buffer": False},
    }
