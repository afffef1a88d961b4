"""The fields of requests for answers, as OpenAI's clients and those of other servers name them.

A field that is not known is tolerated. One that is known elsewhere and would change the answer is
refused by name: see `refused_fields.py`.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from sala_compile.runtime.serving.http.request_limits import LIMITS

_NAMES = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
_IDS = {"type": "array", "items": {"type": "integer", "minimum": 0}}
Stops = Annotated[str | list[str] | None, Field(description="End the answer before such a text.")]
Prompt = Annotated[
    Any,
    WithJsonSchema(
        {"anyOf": [*_NAMES["anyOf"], _IDS, {"type": "array", "items": _IDS}]}, mode="validation"
    ),
]
"""A text, token ids, or a list of one of them."""
Document = dict[str, Any]
Messages = Annotated[list[Document], Field(min_length=1, max_length=LIMITS.messages)]
Count = Annotated[int, Field(ge=0, le=2**31 - 1)]
Id = Annotated[int, Field(ge=0, le=2**31 - 1)]


class RequestFields(BaseModel):
    """The body of a request."""

    model_config = ConfigDict(
        extra="allow", strict=True, allow_inf_nan=False, hide_input_in_errors=True
    )

    model: str | None = Field(None, description="The id that /v1/models lists.")


class StreamOptions(BaseModel):
    """What a stream has besides the answer."""

    model_config = ConfigDict(extra="allow", strict=True)

    include_usage: bool | None = None


class AnswerFields(RequestFields):
    """What chats and completions have in common."""

    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=LIMITS.choices)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**64)] | None = None
    stop: Stops = None
    temperature: Annotated[float, Field(ge=0, le=100)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=2**31 - 1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    repetition_penalty: Annotated[float, Field(ge=0.001, le=1000)] | None = None
    logit_bias: dict[str, float] | None = Field(None, max_length=LIMITS.biases)
    max_tokens: Count | None = None
    min_tokens: Count | None = None
    ignore_eos: bool | None = None
    stop_token_ids: list[Id] | None = Field(None, max_length=LIMITS.biases)
    include_stop_str_in_output: bool | None = None
    echo: bool | None = None
    truncate_prompt_tokens: Annotated[int, Field(ge=-1, le=2**31 - 1)] | None = None
    skip_special_tokens: bool | None = None
    return_token_ids: bool | None = None
    return_progress: bool | None = Field(None, description="Chunks while the prompt is read.")
    timings: bool | None = Field(None, description="How long the parts of the answer took.")
    blocks_read: bool | None = Field(
        None, description="Which blocks of the text the sparse layers read for the answer."
    )
    priority: Annotated[int, Field(ge=-(2**31), lt=2**31)] | None = Field(
        None, description="Requests of a lower number come first."
    )
    prefix_reuse: Literal["any", "read", "none"] | None = Field(
        None, description="Which known beginnings of the prompt are not read again."
    )
    cache_salt: Annotated[str, Field(min_length=1, max_length=256)] | None = Field(
        None, description="Only requests with the same salt share what is known of prompts."
    )
    allowed_token_ids: list[Id] | None = Field(None, min_length=1, max_length=LIMITS.allowed)
    timeout: Annotated[float, Field(gt=0, le=86400)] | None = Field(
        None, description="Seconds after which the answer ends with what it has."
    )
    state_id: str | None = Field(None, description="What /v1/states keeps comes before.")
    response_format: Document | None = None
    structured_outputs: Document | None = None
    guided_json: Document | str | None = None
    guided_json_object: bool | None = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = None
    guided_grammar: str | None = None


class ConversationFields(RequestFields):
    """A conversation, and what its template is given."""

    messages: Messages
    tools: list[Document] | None = Field(None, max_length=LIMITS.tools)
    reasoning_effort: Annotated[str, Field(max_length=64)] | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    chat_template_kwargs: Document | None = None
    documents: list[Document] | None = None


class ChatFields(AnswerFields, ConversationFields):
    """The body of a request to /v1/chat/completions."""

    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=LIMITS.top_logprobs)] | None = None
    tool_choice: Literal["none", "auto", "required"] | Document | None = None
    parallel_tool_calls: bool | None = None


class CompletionFields(AnswerFields):
    """The body of a request to /v1/completions."""

    prompt: Prompt
    best_of: Annotated[int, Field(ge=1, le=LIMITS.choices)] | None = None
    logprobs: Annotated[int, Field(ge=0, le=LIMITS.top_logprobs)] | None = None
    add_special_tokens: bool | None = None
