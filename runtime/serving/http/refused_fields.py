"""Fields that have a meaning elsewhere and none here: refused by name, never ignored."""

from collections.abc import Iterator, Mapping
from typing import Any

from sala_compile.runtime.serving.http.api_error import unsupported

_OF_OPENAI: dict[str, tuple[Any, ...]] = {
    "audio": (),
    "function_call": ("none",),
    "functions": ([],),
    "modalities": (["text"],),
    "moderation": (),
    "service_tier": ("auto", "default", "standard_only"),
    "store": (False,),
    "suffix": ("",),
    "verbosity": ("medium",),
    "web_search_options": (),
}
_OF_OTHERS: dict[str, tuple[Any, ...]] = {
    "adapter_id": (),
    "bad_words": ([],),
    "beam_width": (1,),
    "chat_template": (),
    "dry_multiplier": (0,),
    "dynatemp_range": (0,),
    "ebnf": (),
    "grammar": ("",),
    "guided_decoding_backend": (),
    "guided_whitespace_pattern": (),
    "id_slot": (-1,),
    "include_reasoning": (True,),
    "input_embeds": (),
    "json_schema": (),
    "kv_transfer_params": (),
    "length_penalty": (1,),
    "logits_processors": ([],),
    "lora_path": (),
    "min_keep": (0,),
    "mirostat": (0,),
    "mm_processor_kwargs": ({},),
    "n_predict": (-1,),
    "n_probs": (0,),
    "no_repeat_ngram_size": (0,),
    "prompt_embeds": (),
    "prompt_logprobs": (),
    "regex": (),
    "return_tokens_as_token_ids": (False,),
    "separate_reasoning": (True,),
    "session_params": (),
    "spaces_between_special_tokens": (True,),
    "stop_regex": (),
    "thinking": (),
    "thinking_budget_tokens": (-1,),
    "top_a": (0,),
    "typical_p": (1,),
    "use_beam_search": (False,),
    "vllm_xargs": ({},),
    "xtc_probability": (0,),
}
_HINTS = {
    "chat_template": "templates come with the model; chat_template_kwargs gives it variables",
    "ebnf": "give structured_outputs",
    "function_call": "give tool_choice",
    "functions": "give tools",
    "grammar": "give structured_outputs",
    "json_schema": "give response_format",
    "n_predict": "give max_tokens",
    "n_probs": "give logprobs",
    "prompt_logprobs": "give echo and logprobs to /v1/completions",
    "regex": "give structured_outputs",
    "suffix": "the model has no way to fill in a middle",
    "thinking": "give chat_template_kwargs, with the variable that the model's template has",
}
_STREAM = {"continuous_usage_stats": (False,)}


def refuse_unsupported(extra: Mapping[str, Any] | None, place: str = "") -> None:
    """ApiError for the first field of `extra` that would change the answer, were it supported.

    A value at which it changes nothing is accepted, as null is.
    """
    known = _STREAM if place else _OF_OPENAI | _OF_OTHERS
    for name, value in _given(extra):
        if name in known and not any(_same(value, each) for each in known[name]):
            raise unsupported(place + name, _HINTS.get(name, ""))


def _given(extra: Mapping[str, Any] | None) -> Iterator[tuple[str, Any]]:
    return ((name, value) for name, value in (extra or {}).items() if value is not None)


def _same(value: Any, other: Any) -> bool:
    """Whether two values are equal; true and 1 are not."""
    return value == other and isinstance(value, bool) is isinstance(other, bool)
