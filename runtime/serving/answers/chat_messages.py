"""The messages of a request in the form that chat templates read."""

import json
from typing import Any

from sala_compile.runtime.common.json_text import is_list, is_object, json_kind, quoted
from sala_compile.runtime.errors import RequestError

ROLES = ("system", "developer", "user", "assistant", "tool")
_TEXTS = {"text": "text", "refusal": "refusal", "input_text": "text", "output_text": "text"}
"""Parts of a content that are text, and where they have it."""


def chat_messages(messages: object) -> list[dict[str, Any]]:
    """The messages with text as content, and arguments of calls as objects.

    A developer is a system here. RequestError, with the place, for what is no message, and for
    parts that are not text, such as pictures.
    """
    if not is_list(messages) or not messages:
        found = "there is no message" if messages == [] else f"it is {json_kind(messages)}"
        raise _refused(found, "messages", "a list of at least one message")
    return [_message(message, f"messages[{i}]") for i, message in enumerate(messages)]


def _message(message: object, where: str) -> dict[str, Any]:
    if not is_object(message):
        raise _refused(f"it is {json_kind(message)}", where, "a message with role and content")
    role = message.get("role")
    if role not in ROLES:
        found = f"the role {quoted(role)} is not supported"
        raise _refused(found, f"{where}.role", f"one of {', '.join(ROLES)}")
    made = {name: value for name, value in message.items() if value is not None}
    made["role"] = "system" if role == "developer" else role
    made["content"] = _content(message.get("content"), f"{where}.content")
    calls = message.get("tool_calls")
    if calls is None and message.get("content") is None and role != "assistant":
        raise _refused("there is no content", f"{where}.content", "a text")
    made.pop("tool_calls", None)
    if calls:
        made["tool_calls"] = _calls(calls, f"{where}.tool_calls")
    if message.get("function_call") is not None:
        found = "function_call is not supported"
        raise _refused(found, f"{where}.function_call", "tool_calls, which replaced it")
    return made


def _content(content: object, where: str) -> str:
    """The text of a content, its parts joined as they are."""
    if content is None or isinstance(content, str):
        return content or ""
    if not is_list(content):
        raise _refused(f"it is {json_kind(content)}", where, "a text or a list of parts")
    return "".join(_part(part, f"{where}[{i}]") for i, part in enumerate(content))


def _part(part: object, where: str) -> str:
    if isinstance(part, str):
        return part
    kind = part.get("type") if is_object(part) else None
    if not is_object(part) or kind not in _TEXTS:
        found = f"parts of type {quoted(kind)} are not supported: this model reads text alone"
        raise _refused(found, f"{where}.type", "text")
    text = part.get(_TEXTS[str(kind)])
    if not isinstance(text, str):
        raise _refused(f"it is {json_kind(text)}", f"{where}.{_TEXTS[str(kind)]}", "a text")
    return text


def _calls(calls: object, where: str) -> list[dict[str, Any]]:
    """Calls whose arguments are objects; those that are not JSON stay as they are."""
    if not is_list(calls):
        raise _refused(f"it is {json_kind(calls)}", where, "a list of calls")
    return [_call(call, f"{where}[{i}]") for i, call in enumerate(calls)]


def _call(call: object, where: str) -> dict[str, Any]:
    function = call.get("function") if is_object(call) else None
    if not is_object(call) or not is_object(function):
        raise _refused(f"it is {quoted(call)}", where, "a call of a function")
    if not isinstance(function.get("name"), str):
        found = f"it is {json_kind(function.get('name'))}"
        raise _refused(found, f"{where}.function.name", "the name of a function")
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            read = json.loads(arguments or "{}")
        except (ValueError, RecursionError):
            read = None
        arguments = read if is_object(read) else arguments
    return {**call, "type": "function", "function": {**function, "arguments": arguments or {}}}


def with_text_arguments(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages with the arguments of calls as JSON texts, which some templates join."""
    return [
        {**message, "tool_calls": [_with_text(call) for call in message["tool_calls"]]}
        if "tool_calls" in message
        else message
        for message in messages
    ]


def _with_text(call: dict[str, Any]) -> dict[str, Any]:
    function = call["function"]
    text = json.dumps(function["arguments"], ensure_ascii=False)
    return {**call, "function": {**function, "arguments": text}}


def _refused(found: str, where: str, expected: str) -> RequestError:
    return RequestError(found, where, expected)
