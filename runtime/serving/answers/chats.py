"""From the messages of a request to a prompt, and to how its answer is restricted and read."""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np

from sala_compile.runtime.common.json_text import is_object, json_kind
from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.serving.answers.answer_rules import (
    AnswerRule,
    AnswerRules,
    ReasoningPart,
)
from sala_compile.runtime.serving.answers.answer_text import AnswerText
from sala_compile.runtime.serving.answers.chat_messages import chat_messages
from sala_compile.runtime.serving.answers.chat_template_use import ChatTemplateUse
from sala_compile.runtime.serving.structure.structure import Structure
from sala_compile.runtime.serving.structure.structures import Structures
from sala_compile.runtime.serving.tools.reasoning import ReasoningMarks
from sala_compile.runtime.serving.tools.tool_definitions import tool_use
from sala_compile.runtime.serving.work.constraint import Constraint
from sala_compile.runtime.text.templates.chat import ChatTemplate
from sala_compile.runtime.text.tokenizer import Tokenizer

_RESERVED = frozenset({"messages", "tools", "add_generation_prompt", "continue_final_message"})
_VARIABLES = 64


@dataclass(frozen=True, slots=True)
class ChatInput:
    """What a request says of its chat, as JSON values; None and absent are the same.

    `template_variables` are those of `chat_template_kwargs`.
    """

    messages: object
    tools: object = None
    tool_choice: object = None
    parallel_tool_calls: object = None
    structure: Structure | None = None
    template_variables: object = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False


@dataclass(frozen=True)
class PreparedChat:
    """A prompt, and what each of its answers needs."""

    rules: AnswerRules
    text: str
    """What the template wrote."""
    prompt: np.ndarray
    """int32 [tokens]."""
    rule: AnswerRule
    reasoning: ReasoningPart

    def constraint(self) -> Constraint | None:
        """A new constraint of one answer, None for a free one."""
        return self.rules.constraint(self.rule, self.reasoning)

    def answer(
        self,
        *,
        stop: Sequence[str] = (),
        ends: frozenset[int] = frozenset(),
        shows_stop: bool = False,
        shows_marks: bool = False,
    ) -> AnswerText:
        """A new reader of one answer; the arguments are those of AnswerText."""
        return AnswerText(
            self.rules.tokenizer,
            self.prompt.tolist(),
            stop=stop,
            ends=ends,
            form=self.rules.reading(self.rule, self.reasoning),
            shows_stop=shows_stop,
            shows_marks=shows_marks,
        )


class Chats:
    """Prepares chats of one model. For any threads; `prepare` may take a second."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        template: ChatTemplate | None,
        structures: Structures,
        ends: Set[int],
        check: Callable[[str], None] = lambda _: None,
    ) -> None:
        """With the model's chat template, if it has one; answers end with one of `ends`.

        `check` may refuse a text before it becomes tokens, by an error of its own.
        """
        self.tokenizer = tokenizer
        self._check = check
        self.structures = structures
        self._rules = AnswerRules(tokenizer, structures, ends)
        self._use = None if template is None else ChatTemplateUse(template)

    def prepare(self, chat: ChatInput) -> PreparedChat:
        """RequestError, with the place, for what the model or its template does not support."""
        template = self._template()
        messages = chat_messages(chat.messages)
        use = tool_use(chat.tools, chat.tool_choice, chat.parallel_tool_calls)
        form = None if use is None else template.tool_format
        continued = chat.continue_final_message
        if continued and messages[-1]["role"] != "assistant":
            raise RequestError(
                f"the last message is of the role {messages[-1]['role']}",
                "continue_final_message",
                "a last message of the assistant, which the answer continues",
            )
        variables = _variables(chat.template_variables)
        variables["add_generation_prompt"] = chat.add_generation_prompt
        if use is not None:
            variables["tools"] = chat.tools
        text = template.render(messages, variables, continued=continued)
        self._check(text)
        prompt = np.asarray(self.tokenizer.encode(text, special=False), np.int32)
        marks = template.reasoning
        reasoning = ReasoningPart()
        if marks is not None:
            reasoning = self._reasoning(marks, text, messages[-1], continued)
        rule = self._rules.compile(chat.structure, use, form)
        return PreparedChat(self._rules, text, prompt, rule, reasoning)

    def _template(self) -> ChatTemplateUse:
        if self._use is None:
            raise RequestError(
                "this model has no chat template",
                where="messages",
                expected="a request of /v1/completions, whose prompt is the whole text",
                fix="compile a checkpoint of a chat model",
            )
        return self._use

    def _reasoning(
        self, marks: ReasoningMarks, text: str, last: Mapping[str, Any], continued: bool
    ) -> ReasoningPart:
        """Whether the prompt leaves a reasoning open, or whether the model may open one."""
        if continued:
            content: str = last["content"]
            inside = content.rfind(marks.opening) > content.rfind(marks.closing)
            return ReasoningPart(marks, inside=True) if inside else ReasoningPart()
        end = text.rstrip()
        if end.endswith(marks.opening):
            return ReasoningPart(marks, inside=True)
        closed = end.endswith(marks.closing) or self._template().opens_reasoning
        return ReasoningPart() if closed else ReasoningPart(marks)


def _variables(given: object) -> dict[str, Any]:
    """The variables of `chat_template_kwargs`; RequestError for what they may not be."""
    where = "chat_template_kwargs"
    if given is None:
        return {}
    if not is_object(given):
        raise RequestError(f"it is {json_kind(given)}", where, "an object")
    variables = dict(given)
    if len(variables) > _VARIABLES:
        raise RequestError(f"there are {len(variables)}", where, f"at most {_VARIABLES}")
    for name in variables:
        if name in _RESERVED or not name.isidentifier():
            found = f"{name[:80]!r} is no variable that a request may set"
            raise RequestError(found, f"{where}.{name[:80]}", "a name such as enable_thinking")
    return variables
