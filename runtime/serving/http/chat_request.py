"""A request to /v1/chat/completions, from its body to its choices; runs in a worker."""

from dataclasses import replace
from typing import Any

from sala_compile.runtime.common.json_text import is_list
from sala_compile.runtime.serving.answers.answer_text import AnswerText
from sala_compile.runtime.serving.answers.chats import ChatInput, PreparedChat
from sala_compile.runtime.serving.http.api_error import refused
from sala_compile.runtime.serving.http.chat_replies import ChatChunks, ChatWhole
from sala_compile.runtime.serving.http.exchange import AnswerChoice, Echo, Exchange
from sala_compile.runtime.serving.http.json_bodies import parse_body
from sala_compile.runtime.serving.http.prompt_ids import checked_ids
from sala_compile.runtime.serving.http.request_choices import (
    Asked,
    check_fields,
    choices_of,
    room_for,
    structure_of,
)
from sala_compile.runtime.serving.http.request_fields import ChatFields, ConversationFields
from sala_compile.runtime.serving.http.served_model import ServedModel
from sala_compile.runtime.serving.http.state_access import known_state, refusing
from sala_compile.runtime.serving.http.stream_lines import ReplyExtras


class ChatRequest:
    """What the body of a request asks for."""

    kind = "chatcmpl"

    def __init__(self, served: ServedModel, body: bytes) -> None:
        """Read the body and make the jobs; ApiError for what cannot be answered."""
        self.fields = fields = parse_body(ChatFields, body)
        check_fields(served, fields)
        if fields.top_logprobs is not None and not fields.logprobs:
            raise refused("top_logprobs", "top_logprobs need logprobs: true")
        self.extras = ReplyExtras.of(fields, logprobs=bool(fields.logprobs))
        chat = prepared_chat(served, fields)
        ids = checked_ids(served, chat.prompt, "messages", fields.truncate_prompt_tokens)

        def answer(stop: tuple[str, ...], ends: frozenset[int]) -> AnswerText:
            return chat.answer(
                stop=stop,
                ends=ends,
                shows_stop=bool(fields.include_stop_str_in_output),
                shows_marks=fields.skip_special_tokens is False,
            )

        asked = Asked(
            ids=ids,
            max_tokens=room_for(
                served,
                len(ids),
                fields.max_tokens
                if fields.max_completion_tokens is None
                else fields.max_completion_tokens,
                served.defaults.max_new_tokens,
            ),
            answer=answer,
            constraint=chat.constraint,
            echo=lambda: Echo(_last_text(fields.messages)) if fields.echo else None,
            logprobs=(fields.top_logprobs or 0) if fields.logprobs else None,
        )
        self.choices: list[AnswerChoice] = choices_of(served, fields, [asked])

    def whole(self) -> ChatWhole:
        """What collects the reply."""
        return ChatWhole(self.extras)

    def chunks(self, exchange: Exchange) -> ChatChunks:
        """What writes the reply as a stream."""
        return ChatChunks(exchange, self.extras)


def prepared_chat(served: ServedModel, fields: ConversationFields) -> PreparedChat:
    """The conversation as the model reads it; ApiError where it cannot be rendered."""
    variables: dict[str, Any] = dict(fields.chat_template_kwargs or {})
    if fields.reasoning_effort is not None:
        variables["reasoning_effort"] = fields.reasoning_effort
    if fields.documents is not None:
        variables["documents"] = fields.documents
    continues = bool(fields.continue_final_message)
    opens = fields.add_generation_prompt
    if continues and opens:
        raise refused(
            "continue_final_message",
            "add_generation_prompt and continue_final_message exclude each other",
        )
    chat = ChatInput(
        messages=fields.messages,
        tools=fields.tools,
        template_variables=variables,
        add_generation_prompt=not continues if opens is None else opens,
        continue_final_message=continues,
    )
    if not isinstance(fields, ChatFields):
        return refusing(lambda: served.chats.prepare(chat))
    chat = replace(
        chat,
        tool_choice=fields.tool_choice,
        parallel_tool_calls=fields.parallel_tool_calls,
        structure=structure_of(fields),
    )
    if fields.state_id is None:
        return refusing(lambda: served.chats.prepare(chat))
    state = known_state(served, fields.state_id)
    messages = refusing(lambda: state.conversation(fields.messages))
    found = refusing(lambda: served.chats.prepare(replace(chat, messages=messages)))
    refusing(lambda: state.require_beginning(found.prompt))
    return found


def _last_text(messages: list[dict[str, Any]]) -> str:
    """The text of the last message, if the answer continues it."""
    last = messages[-1]
    if last.get("role") != "assistant":
        return ""
    content: Any = last.get("content")
    if is_list(content):
        return "".join(str(part.get("text", "")) for part in content)
    return content or ""
