"""Renders a conversation with the checkpoint's own chat template, in a sandbox."""

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from runtime.errors import RequestError
from runtime.tokenizer import CONFIG_FILE, read_config, special_text

TEMPLATE_FILE = "chat_template.jinja"
_SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token")

Message = dict[str, Any]


class _TemplateRefusal(Exception):
    """A conversation that the template itself refuses."""


class _Generation(Extension):
    """The block `{% generation %}` that marks an answer for training; it renders as its body."""

    tags = {"generation"}  # noqa: RUF012  (jinja2 declares it so)

    def parse(self, parser: Any) -> nodes.Node | list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class ChatTemplate:
    """A chat template of a checkpoint, with the variables that Hugging Face templates expect."""

    def __init__(self, source: str, *, where: str, special_tokens: dict[str, str]) -> None:
        """Compile `source`; RequestError where it is not a template."""
        self._where = where
        self._special_tokens = special_tokens
        try:
            self._template = _environment().from_string(source)
        except jinja2.TemplateError as error:
            raise RequestError(f"the chat template is broken: {error}", where=where) from None

    @staticmethod
    def exists(directory: Path) -> bool:
        """Whether `directory` has a template, in a file of its own or in tokenizer_config.json."""
        has_file = (directory / TEMPLATE_FILE).is_file()
        return has_file or _default_template(read_config(directory)) is not None

    @staticmethod
    def from_files(directory: Path) -> "ChatTemplate":
        """The template of `directory`: chat_template.jinja, else that of tokenizer_config.json."""
        config = read_config(directory)
        path = directory / TEMPLATE_FILE
        if path.is_file():
            source, where = path.read_text(encoding="utf-8"), str(path)
        else:
            source, where = _default_template(config), f"{directory / CONFIG_FILE}: chat_template"
        if source is None:
            raise RequestError(
                f"{directory.name} has no chat template",
                where=str(path),
                expected=f"{TEMPLATE_FILE}, or chat_template in {CONFIG_FILE}",
                fix="give the whole text with --prompt, or compile a checkpoint of a chat model",
            )
        return ChatTemplate(source, where=where, special_tokens=_special_tokens(config))

    def render(self, messages: Sequence[Message], **variables: Any) -> str:
        """The text of `messages` (each with `role` and `content`), open for the next answer.

        `variables` reach the template, such as `enable_thinking=False` or `tools=[...]`.
        """
        known = {"add_generation_prompt": True, "tools": None, "documents": None}
        try:
            return self._template.render(
                messages=list(messages), **(known | self._special_tokens | variables)
            )
        except _TemplateRefusal as error:
            raise RequestError(
                f"the chat template refuses this conversation: {error}", where=self._where
            ) from None
        except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
            raise RequestError(f"the chat template fails: {error}", where=self._where) from None


def _default_template(config: dict[str, Any]) -> str | None:
    """The template of tokenizer_config.json: a text, or the one named `default` of a list."""
    template = config.get("chat_template")
    if isinstance(template, list):
        named = {entry["name"]: entry["template"] for entry in template}
        template = named.get("default")
    return template


def _special_tokens(config: dict[str, Any]) -> dict[str, str]:
    """Texts of the special tokens that `config` names."""
    texts = {name: special_text(config, name) for name in _SPECIAL_TOKENS}
    return {name: text for name, text in texts.items() if text is not None}


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment


def _to_json(value: Any, **options: Any) -> str:
    """JSON without the HTML escapes of jinja2's own filter."""
    options.setdefault("ensure_ascii", False)
    return json.dumps(value, **options)


def _raise_exception(message: str) -> None:
    raise _TemplateRefusal(message)


def _strftime_now(pattern: str) -> str:
    return datetime.now().strftime(pattern)
