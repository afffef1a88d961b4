"""The messages of a chat so far, and their token ids by the checkpoint's template."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sala_compile.runtime.artifact import Artifact
from sala_compile.runtime.cli.reuse import common_length
from sala_compile.runtime.common.files import FileRule
from sala_compile.runtime.common.json_text import is_list, is_object, json_kind, parse_json
from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.text.templates.chat import ChatTemplate, Message
from sala_compile.runtime.text.tokenizer import Tokenizer

_TOOLS = FileRule(what="the file of tools", limit=1 << 20)
_SOME_ANSWER = "yes"


class ContextError(RequestError):
    """A message that does not fit the context, even if all that can be is dropped."""


@dataclass(frozen=True, slots=True)
class TemplateChoice:
    """Which template renders, and what it is given besides the messages."""

    name: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    tools: Sequence[Any] | None = None

    @staticmethod
    def of(name: str | None, arguments: Sequence[str], tools: Path | None) -> "TemplateChoice":
        """From the options --template, --template-arg and --tools; RequestError for others."""
        found: dict[str, Any] = {}
        for text in arguments:
            key, equals, value = text.partition("=")
            if not equals or not key.isidentifier():
                raise RequestError(
                    f"{text!r} is no argument of a template",
                    where="--template-arg",
                    expected="NAME=JSON such as enable_thinking=false",
                )
            found[key] = parse_json(
                value,
                f"--template-arg {key}",
                RequestError,
                fix='give JSON: false, 3, "text" in quotation marks',
            )
        return TemplateChoice(name, found, None if tools is None else read_tools(tools))

    @property
    def variables(self) -> dict[str, Any]:
        """The variables of the template."""
        return {**self.arguments} if self.tools is None else {**self.arguments, "tools": self.tools}


def read_tools(path: Path) -> list[Any]:
    """The JSON schemas of functions in a file; RequestError for anything else."""
    tools = parse_json(_TOOLS.read(path), str(path), RequestError)
    if not is_list(tools) or not all(is_object(tool) for tool in tools):
        raise RequestError(
            f"the file holds {json_kind(tools)}",
            where=str(path),
            expected='a list of objects such as {"type": "function", "function": {"name": ...}}',
        )
    return tools


class Conversation:
    """Messages that grow turn by turn; those of the opening, a system message, stay."""

    def __init__(
        self,
        artifact: Path | Artifact,
        tokenizer: Tokenizer,
        choice: TemplateChoice,
        opening: Sequence[Message],
    ) -> None:
        """Begin with the messages `opening`; RequestError if the template is missing."""
        self._template = ChatTemplate.from_files(artifact, choice.name)
        self._tokenizer = tokenizer
        self._variables = choice.variables
        self.opening = list(opening)
        self.turns: list[list[Message]] = []
        self._opening_ids: list[int] | None = None

    def ask(self, text: str) -> None:
        """Begin a turn with what the user says."""
        self.turns.append([{"role": "user", "content": text}])

    def answer(self, text: str) -> None:
        """End the turn with what the model says."""
        self.turns[-1].append({"role": "assistant", "content": text})

    def token_ids(self, before: Sequence[int] = ()) -> list[int]:
        """The ids of all messages, open for the next answer, after a text of ids `before`."""
        if not before:
            return self._ids(self._messages())
        text = self._template.render(self._messages(), **self._variables)
        return self._tokenizer.encode_continuation(text, before)

    def settled(self, token_ids: Sequence[int]) -> int:
        """How many of the ids probably stay when the conversation continues after an answer."""
        answer: Message = {"role": "assistant", "content": _SOME_ANSWER}
        return common_length(self._closed([*self._messages(), answer]), token_ids)

    def shared(self, token_ids: Sequence[int]) -> int:
        """How many of the ids are of the opening, which stays when turns are dropped."""
        if self._opening_ids is None:
            self._opening_ids = self._closed(self.opening) if self.opening else []
        return common_length(self._opening_ids, token_ids)

    def fit(self, context: int, longest_answer: int) -> tuple[list[int], int]:
        """The ids with room for an answer, and how many of the oldest turns were dropped for it.

        If the ids and the longest answer (a quarter of the context at most) do not fit,
        the oldest turns are dropped until three quarters of the context suffice. ContextError if
        the newest message alone does not fit.
        """
        room, turns, ids = min(longest_answer, max(1, context // 4)), self.turns, self.token_ids()
        dropped = 0
        if len(ids) + room > context:
            most = context - context // 4 - room
            counts = range(len(turns) - 1)  # tried by halves: each costs a rendering
            dropped = bisect_left(counts, True, key=lambda count: self._fits(turns[count:], most))
            self.turns = turns[dropped:]
            ids = self.token_ids()
        if len(ids) >= context:
            self.turns = turns
            raise ContextError(
                f"the message is not read: {len(ids)} tokens do not fit the context of {context}",
                expected=f"at most {context - 1} tokens, the system message and the template's own "
                "among them",
                fix="say it shorter, or give a larger --context",
            )
        return ids, dropped

    def _fits(self, turns: list[list[Message]], most: int) -> bool:
        """Whether the conversation of these turns has at most so many tokens."""
        self.turns = turns
        return len(self.token_ids()) <= most

    def _messages(self) -> list[Message]:
        return [*self.opening, *(message for turn in self.turns for message in turn)]

    def _ids(self, messages: Sequence[Message], **more: Any) -> list[int]:
        text = self._template.render(messages, **(self._variables | more))
        return self._tokenizer.encode(text, special=False)

    def _closed(self, messages: Sequence[Message]) -> list[int]:
        """The ids of `messages` without what opens an answer; none if the template refuses them."""
        try:
            return self._ids(messages, add_generation_prompt=False)
        except RequestError:
            return []
