"""Renders a conversation with the checkpoint's own chat template, in a sandbox."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Template, TemplateError

from sala_compile.runtime.artifact import Artifact
from sala_compile.runtime.common.checks import checked_path, checked_text
from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.text.templates.template_files import (
    DEFAULT,
    TEMPLATE_FILE,
    TEMPLATE_FOLDER,
    TemplateFiles,
    TemplateSource,
)
from sala_compile.runtime.text.templates.template_inputs import (
    Message,
    plain,
    plain_messages,
    plain_tools,
)
from sala_compile.runtime.text.templates.template_limits import Budget, TemplateLimitError, within
from sala_compile.runtime.text.templates.template_sandbox import (
    TemplateEnvironment,
    TemplateRefusal,
)
from sala_compile.runtime.text.tokenizers.tokenizer_files import CONFIG_FILE
from sala_compile.runtime.text.tokenizers.tokenizer_loading import template_variables

__all__ = ["ChatTemplate", "Message"]

_TOOL_USE = "tool_use"
_LONGEST_MESSAGE = 500


class ChatTemplate:
    """The chat templates of a checkpoint, with the variables that Hugging Face templates expect."""

    def __init__(
        self,
        source: str | Mapping[str, TemplateSource],
        *,
        where: str = "the chat template",
        special_tokens: Mapping[str, str],
        name: str | None = None,
    ) -> None:
        """Of one text, which is at `where`, or of several by name.

        `name` is the one to render with; by default, the one named tool_use for conversations
        with tools, if there is one, and the one named default for others. RequestError if
        that is missing or not a template.
        """
        checked_text("name", name, "the name of a chat template")
        sources = (
            {DEFAULT: TemplateSource(source, where)} if isinstance(source, str) else dict(source)
        )
        self._sources = sources
        self._where = where
        self._special_tokens = dict(special_tokens)
        self._environment = TemplateEnvironment()
        self._compiled: dict[str, Template] = {}
        self._chosen = name
        self._compile(self._name(tools=False))

    @staticmethod
    def exists(directory: Path | Artifact) -> bool:
        """Whether there is a template, in a file of its own or in tokenizer_config.json."""
        return bool(TemplateFiles.of(directory).sources())

    @staticmethod
    def from_files(directory: Path | Artifact, name: str | None = None) -> "ChatTemplate":
        """The templates of a directory or of an artifact.

        They are in chat_template.jinja and in the folder additional_chat_templates, or else in
        tokenizer_config.json. RequestError if there is none, ArtifactError if one is
        damaged.
        """
        place = directory if isinstance(directory, Artifact) else checked_path("path", directory)
        found = TemplateFiles.of(place)
        files, sources = found.files, found.sources()
        if not sources:
            folder = place.directory if isinstance(place, Artifact) else place
            raise RequestError(
                f"{folder.name} has no chat template",
                where=files.where(TEMPLATE_FILE),
                expected=f"{TEMPLATE_FILE}, or chat_template in {CONFIG_FILE}",
                fix="give the whole text with --prompt, or compile a checkpoint of a chat model",
            )
        where = files.where(TEMPLATE_FOLDER if len(sources) > 1 else TEMPLATE_FILE)
        tokens = template_variables(files)
        return ChatTemplate(sources, where=where, special_tokens=tokens, name=name)

    @property
    def names(self) -> list[str]:
        """The names of the templates."""
        return list(self._sources)

    def source(self, *, tools: bool) -> str:
        """The text of the template for a conversation with or without tools."""
        return self._sources[self._name(tools=tools)].text

    def render(self, messages: Sequence[Message], **variables: Any) -> str:
        """The text of `messages` (each with `role` and `content`), open for the next answer.

        `variables` reach the template, such as `enable_thinking=False` or `tools=[...]`.
        RequestError if the template refuses the conversation, fails, or takes too much: its
        steps, time and memory are bounded, in proportion to what it is given.
        """
        given = plain_messages(messages)
        known = {"add_generation_prompt": True, "documents": None}
        tools = plain_tools(variables.get("tools"))
        values = known | self._special_tokens | plain(variables) | {"tools": tools}
        template = self._compile(self._name(tools=tools is not None))
        where = self._sources[self._name(tools=tools is not None)].where
        return _guarded(
            lambda: template.render(values, messages=given), where, "fails", given, values
        )

    def _name(self, *, tools: bool) -> str:
        """The template for a conversation with or without tools."""
        if self._chosen is None and tools and _TOOL_USE in self._sources:
            return _TOOL_USE
        chosen = DEFAULT if self._chosen is None else self._chosen
        if chosen not in self._sources:
            raise RequestError(
                f"there is no chat template named {chosen!r}",
                where=self._where,
                expected=f"one of {', '.join(map(repr, self._sources))}",
                fix="choose one by its name (--template NAME)",
            )
        return chosen

    def _compile(self, name: str) -> Template:
        if name not in self._compiled:
            text, where = self._sources[name].text, self._sources[name].where
            self._compiled[name] = _guarded(
                lambda: self._environment.from_string(text), where, "is broken", text
            )
        return self._compiled[name]


def _guarded(work: Any, where: str, verb: str, *inputs: Any) -> Any:
    """The result of `work` within the limits for `inputs`; RequestError for all that it raises."""
    try:
        with within(Budget(*inputs)):
            return work()
    except TemplateRefusal as error:
        found = f"the chat template refuses this conversation: {error}"
    except TemplateLimitError as error:
        found = f"the chat template takes too much: {error}"
    except RecursionError:
        found = "the chat template takes too much: it is nested too deeply"
    except TemplateError as error:
        found = f"the chat template {verb}: {error}"
    except Exception as error:  # a template computes with anything
        found = f"the chat template {verb}: {type(error).__name__}: {error}"
    raise RequestError(found[:_LONGEST_MESSAGE], where=where) from None
