"""What a template is given: plain values only, from any values of the caller."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, cast

import numpy as np

from sala_compile.runtime.common.json_text import is_object, quoted
from sala_compile.runtime.errors import RequestError

Message = Mapping[str, Any]
_REASONING = ("reasoning_content", "thinking", "reasoning")
"""Names that a message's reasoning is given by, the one that templates read first."""
_DEPTH = 64


def plain(value: Any, depth: int = _DEPTH) -> Any:
    """The value out of None, texts, numbers, lists, tuples and dictionaries.

    What is none of these, nor a record of them, becomes `<its type>`: templates only test whether
    it is there. RequestError if values are nested too deeply.
    """
    if value is None or type(value) in (str, int, float, bool):
        return value
    if depth == 0:
        raise RequestError(
            "a message, tool or variable is nested too deeply",
            where="what the chat template is given",
            expected=f"lists and dictionaries of at most {_DEPTH} levels",
        )
    if isinstance(value, Mapping):
        return {
            plain(k, depth - 1): plain(each, depth - 1)
            for k, each in cast("Mapping[Any, Any]", value).items()
        }
    if isinstance(value, list | tuple):
        parts = [plain(each, depth - 1) for each in cast("Iterable[Any]", value)]
        return tuple(parts) if isinstance(value, tuple) else parts
    return _plain_object(value, depth)


def _plain_object(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int | float):
        return int(value) if isinstance(value, int) else float(value)
    if isinstance(value, np.generic):
        return plain(value.item(), depth - 1)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: plain(getattr(value, name), depth - 1) for name in names}
    dump = getattr(value, "model_dump", None)  # of a record of pydantic
    if callable(dump):
        return plain(dump(), depth - 1)
    return f"<{type(value).__name__}>"


def plain_messages(messages: object) -> list[dict[str, Any]]:
    """The messages as dictionaries, at least one; RequestError for anything else.

    As in Hugging Face's library, what is None is left out, and reasoning has all its names.
    """
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Iterable):
        raise _no_messages(f"the messages are {quoted(messages)}")
    found = [_message(each) for each in cast("Iterable[Any]", messages)]
    if not found:
        raise _no_messages("there is no message")
    return found


def _message(message: object) -> dict[str, Any]:
    values = plain(message)
    if not is_object(values):
        raise _no_messages(f"a message is {quoted(message)}")
    values = {name: value for name, value in values.items() if value is not None}
    reasoning = next((values[name] for name in _REASONING if name in values), None)
    if reasoning is not None:
        values = {"thinking": reasoning} | values | {"reasoning_content": reasoning}
    return values


def plain_tools(tools: object) -> list[Any] | None:
    """The tools as JSON schemas; None for none. RequestError for anything else."""
    if tools is None:
        return None
    if not isinstance(tools, list | tuple) or not all(
        isinstance(tool, Mapping) for tool in cast("Iterable[Any]", tools)
    ):
        raise RequestError(
            f"the tools are {quoted(tools)}",
            where="option tools",
            expected="a list of dictionaries, each the JSON schema of a function",
        )
    return plain(list(cast("Iterable[Any]", tools)))


def _no_messages(found: str) -> RequestError:
    return RequestError(
        found,
        where="the conversation",
        expected='at least one message such as {"role": "user", "content": "Hello"}',
    )
