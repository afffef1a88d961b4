"""How published models write calls, and which of it a chat template requests."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from sala_compile.runtime.serving.tools.call_body import CallBody, CallIds
from sala_compile.runtime.serving.tools.calls_parser import CallsParser
from sala_compile.runtime.serving.tools.json_calls import JsonCalls
from sala_compile.runtime.serving.tools.named_calls import NamedCall
from sala_compile.runtime.serving.tools.pythonic_calls import PythonicCalls
from sala_compile.runtime.serving.tools.tagged_calls import TaggedCalls, TagSyntax
from sala_compile.runtime.serving.tools.tool_definitions import ToolUse


class ArgumentStyle(Enum):
    """How the arguments of a call are written."""

    JSON = "json"
    TAGS = "tags"
    PYTHON = "python"


@dataclass(frozen=True, slots=True)
class ToolFormat:
    """A syntax of calls: `opening head(name) arguments tail`, several with `between`.

    Where `listed`, several calls are in one list after one opening, `between` them a comma;
    otherwise each call has its own. `argument` and `argument_end` are the tags of TAGS, with `{}`
    for the name. `several` says whether an answer may have more than one call.
    """

    name: str
    opening: str
    head: str
    tail: str
    style: ArgumentStyle
    body: Callable[[CallIds, ToolUse], CallBody]
    between: str = "\n"
    listed: bool = False
    argument: str = ""
    argument_end: str = ""
    several: bool = True

    def parser(self, use: ToolUse) -> CallsParser:
        """A new parser of one answer."""
        parallel = use.parallel and self.several
        return CallsParser(
            self.opening,
            lambda ids: self.body(ids, use),
            parallel=parallel,
            required=use.required,
        )


_MINICPM_TAGS = TagSyntax(
    function=re.compile(r"""name\s*=\s*(?:"([^"<>]*)"|'([^'<>]*)')\s*>"""),
    function_end="</function>",
    argument=re.compile(r"""<param\s+name\s*=\s*(?:"([^"<>]*)"|'([^'<>]*)')\s*>"""),
    argument_end="</param>",
)
_QWEN_TAGS = TagSyntax(
    function=re.compile(r"<function=([^<>]+)>"),
    function_end="</function>",
    argument=re.compile(r"<parameter=([^<>]+)>"),
    argument_end="</parameter>",
    closing="</tool_call>",
    lines=True,
)

MINICPM = ToolFormat(
    name="minicpm",
    opening="<function",
    head=' name="{}">',
    tail="</function>",
    style=ArgumentStyle.TAGS,
    body=lambda ids, use: TaggedCalls(ids, _MINICPM_TAGS, use),
    between="",
    argument='<param name="{}">',
    argument_end="</param>",
)
QWEN_TAGS = ToolFormat(
    name="qwen tags",
    opening="<tool_call>",
    head="\n<function={}>\n",
    tail="</function>\n</tool_call>",
    style=ArgumentStyle.TAGS,
    body=lambda ids, use: TaggedCalls(ids, _QWEN_TAGS, use),
    argument="<parameter={}>\n",
    argument_end="\n</parameter>\n",
)
HERMES = ToolFormat(
    name="hermes",
    opening="<tool_call>",
    head='\n{"name": "{}", "arguments": ',
    tail="}\n</tool_call>",
    style=ArgumentStyle.JSON,
    body=lambda ids, use: JsonCalls(ids, "</tool_call>"),
)
MISTRAL = ToolFormat(
    name="mistral",
    opening="[TOOL_CALLS]",
    head='{"name": "{}", "arguments": ',
    tail="}",
    style=ArgumentStyle.JSON,
    body=lambda ids, use: JsonCalls(ids),
    between=", ",
    listed=True,
)
MISTRAL_NAMED = ToolFormat(
    name="mistral with marks",
    opening="[TOOL_CALLS]",
    head="{}[ARGS]",
    tail="",
    style=ArgumentStyle.JSON,
    body=lambda ids, use: NamedCall(ids, "[ARGS]"),
    between="",
)
LLAMA = ToolFormat(
    name="llama",
    opening="",
    head='{"name": "{}", "parameters": ',
    tail="}",
    style=ArgumentStyle.JSON,
    body=lambda ids, use: JsonCalls(ids, names=[tool.name for tool in use.tools]),
    several=False,
)
PYTHON_BLOCK = ToolFormat(
    name="python block",
    opening="<|tool_call_start|>",
    head="\n```python\n{}(",
    tail=")\n```\n<|tool_call_end|>",
    style=ArgumentStyle.PYTHON,
    body=lambda ids, use: PythonicCalls(ids, "<|tool_call_end|>", "```"),
)
PYTHON_LIST = ToolFormat(
    name="python list",
    opening="<|tool_call_start|>",
    head="[{}(",
    tail=")]<|tool_call_end|>",
    style=ArgumentStyle.PYTHON,
    body=lambda ids, use: PythonicCalls(ids, "<|tool_call_end|>"),
)

_OTHERS = ("<arg_key>", "<\uff5ctool\u2581call", "<invoke", "<|tool_calls_section_begin|>")
"""Of formats that are not known, which share marks with those that are."""


def tool_format(template: str) -> ToolFormat | None:
    """The format that the text of a chat template writes calls in; None if it is not known."""
    if "tools" not in template or any(mark in template for mark in _OTHERS):
        return None
    known = (
        (("<function name=", "<param name="), MINICPM),
        (("<function=", "<parameter="), QWEN_TAGS),
        (("<tool_call>",), HERMES),
        (("[TOOL_CALLS]", "[ARGS]"), MISTRAL_NAMED),
        (("[TOOL_CALLS]",), MISTRAL),
        (("<|tool_call_start|>", "```python"), PYTHON_BLOCK),
        (("<|tool_call_start|>",), PYTHON_LIST),
        (('"parameters": ', "ipython"), LLAMA),
    )
    return next((form for marks, form in known if all(mark in template for mark in marks)), None)
