"""What a chat template can express, and how messages are given to it."""

from enum import Enum, auto
from functools import cached_property
from typing import Any

from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.serving.answers.chat_messages import with_text_arguments
from sala_compile.runtime.serving.tools.reasoning import MARKS, ReasoningMarks
from sala_compile.runtime.serving.tools.tool_formats import ToolFormat, tool_format
from sala_compile.runtime.text.templates.chat import ChatTemplate

_MARK = "\u2063sala\u2063"
"""Where a text ends that is continued: characters that no message has."""


class _Systems(Enum):
    """Which system messages a template writes."""

    ANY = auto()
    FIRST = auto()
    NONE = auto()


class ChatTemplateUse:
    """A chat template, with messages changed to what it can write.

    Where it writes only a first system message, all of them are joined in one; where it writes
    none, they begin the first message of the user.
    """

    def __init__(self, template: ChatTemplate) -> None:
        self._template = template
        source = template.source(tools=False)
        self.reasoning: ReasoningMarks | None = next(
            (each for each in MARKS if each.opening in source or each.closing in source), None
        )
        """What the model has around its reasoning; None if the template knows of none."""

    @cached_property
    def opens_reasoning(self) -> bool:
        """Whether the template itself writes the opening mark where the model is to reason."""
        user = [{"role": "user", "content": "user"}]
        try:
            text = self._template.render(user, enable_thinking=True, thinking=True)
        except RequestError:
            return False
        return self.reasoning is not None and text.rstrip().endswith(self.reasoning.opening)

    @cached_property
    def tool_format(self) -> ToolFormat:
        """How calls are written; RequestError if the template has no tools, or unknown calls."""
        form = tool_format(self._template.source(tools=True))
        if form is None:
            raise RequestError(
                "the chat template of this model has no tools, or none in a known syntax",
                where="tools",
                expected="a request without tools",
                fix="give what the model needs to know in a message",
            )
        return form

    def render(
        self, messages: list[dict[str, Any]], variables: dict[str, Any], *, continued: bool
    ) -> str:
        """The text of `messages`; if `continued`, it ends where the last one's content does."""
        messages = self._with_systems(messages)
        if continued:
            last = {**messages[-1], "content": messages[-1]["content"] + _MARK}
            variables = {**variables, "add_generation_prompt": False}
            messages = [*messages[:-1], last]
        text = self._rendered(messages, variables)
        if not continued:
            return text
        before, mark, _ = text.rpartition(_MARK)
        if not mark:
            raise RequestError(
                "the chat template does not write the last message as it is",
                where="continue_final_message",
                expected="a request without it",
            )
        return before

    def _rendered(self, messages: list[dict[str, Any]], variables: dict[str, Any]) -> str:
        try:
            return self._template.render(messages, **variables)
        except RequestError:
            if not any("tool_calls" in message for message in messages):
                raise
            try:
                return self._template.render(with_text_arguments(messages), **variables)
            except RequestError:
                pass
            raise

    def _with_systems(self, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The messages with the system messages where the template writes them."""
        systems = [message for message in messages if message["role"] == "system"]
        first = messages[0]["role"] == "system"
        if not systems or self._systems is _Systems.ANY:
            return messages
        if self._systems is _Systems.FIRST and len(systems) == 1 and first:
            return messages
        text = "\n\n".join(message["content"] for message in systems)
        others = [message for message in messages if message["role"] != "system"]
        if self._systems is _Systems.FIRST:
            return [{**systems[0], "content": text}, *others]
        place = next((i for i, each in enumerate(others) if each["role"] == "user"), None)
        if place is None:
            return [{"role": "user", "content": text}, *others]
        user = others[place]
        joined = {**user, "content": f"{text}\n\n{user['content']}"}
        return [*others[:place], joined, *others[place + 1 :]]

    @cached_property
    def _systems(self) -> _Systems:
        """What the template does with system messages, by trial."""
        first = {"role": "system", "content": "\u2063first\u2063"}
        later = {"role": "system", "content": "\u2063later\u2063"}
        user = {"role": "user", "content": "user"}
        answer = {"role": "assistant", "content": "answer"}
        if self._writes([first, user, answer, later, user], first, later) and self._writes(
            [user, later, user], later
        ):
            return _Systems.ANY
        return _Systems.FIRST if self._writes([first, user], first) else _Systems.NONE

    def _writes(self, messages: list[dict[str, Any]], *shown: dict[str, Any]) -> bool:
        try:
            text = self._template.render(messages)
        except RequestError:
            return False
        return all(text.count(message["content"]) == 1 for message in shown)
