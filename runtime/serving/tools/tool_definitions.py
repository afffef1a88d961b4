"""The tools of a request, and which of them the model may or must call."""

import re
from dataclasses import dataclass
from typing import Any

from sala_compile.runtime.common.json_text import is_list, is_object, json_kind, quoted
from sala_compile.runtime.errors import RequestError

TOOLS = 128
_NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,128}")
_NO_PARAMETERS = {
    "type": "object",
    "properties": dict[str, Any](),
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class Tool:
    """A function: `schema` is that of its arguments, which `strict` says to enforce in any case.

    `where` is the place of the schema in the request.
    """

    name: str
    schema: dict[str, Any]
    strict: bool
    where: str


@dataclass(frozen=True, slots=True)
class ToolUse:
    """Which tools there are, whether one must be called, and whether several may be at once."""

    tools: tuple[Tool, ...]
    required: bool = False
    named: bool = False
    parallel: bool = True

    def tool(self, name: str) -> Tool | None:
        """The tool of a name, None if there is none."""
        return next((tool for tool in self.tools if tool.name == name), None)


def tool_use(tools: object, choice: object = None, parallel: object = None) -> ToolUse | None:
    """What OpenAI's `tools`, `tool_choice` and `parallel_tool_calls` say; None for no tools.

    RequestError, with the place, for what is not a function and for choices that are not there.
    """
    if parallel is not None and not isinstance(parallel, bool):
        raise _refused(f"it is {json_kind(parallel)}", "parallel_tool_calls", "true or false")
    known = _tools(tools)
    several = parallel is not False
    if choice == "none" or (not known and choice in (None, "auto")):
        return None
    if not known:
        raise _refused("there are no tools", "tool_choice", "tools to choose from")
    if choice in (None, "auto", "required"):
        return ToolUse(known, required=choice == "required", parallel=several)
    return ToolUse((_named(choice, known),), required=True, named=True, parallel=False)


def _tools(tools: object) -> tuple[Tool, ...]:
    if tools is None:
        return ()
    if not is_list(tools):
        raise _refused(f"it is {json_kind(tools)}", "tools", "a list of functions")
    if len(tools) > TOOLS:
        raise _refused(f"there are {len(tools)} tools", "tools", f"at most {TOOLS}")
    known = tuple(_tool(tool, f"tools[{i}]") for i, tool in enumerate(tools))
    names = [tool.name for tool in known]
    twice = next((i for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        found = f"two tools have the name {quoted(names[twice])}"
        raise _refused(found, f"tools[{twice}].function.name", "a name for each")
    return known


def _tool(tool: object, where: str) -> Tool:
    if not is_object(tool):
        raise _refused(f"it is {json_kind(tool)}", where, "a function")
    if tool.get("type") != "function":
        found = f"tools of type {quoted(tool.get('type'))} are not supported"
        raise _refused(found, f"{where}.type", "function")
    function, where = tool.get("function"), f"{where}.function"
    if not is_object(function):
        raise _refused(f"it is {json_kind(function)}", where, "an object with a name")
    name = function.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        expected = "1 to 128 letters, digits, _ . : / and -"
        raise _refused(f"the name is {quoted(name)}", f"{where}.name", expected)
    schema = function.get("parameters")
    schema = _NO_PARAMETERS if schema is None else schema
    if not is_object(schema) or schema.get("type", "object") != "object":
        found = f"the parameters are {quoted(schema)}"
        raise _refused(found, f"{where}.parameters", "the JSON schema of an object")
    if not is_object(schema.get("properties", {})):
        found = f"it is {json_kind(schema['properties'])}"
        raise _refused(found, f"{where}.parameters.properties", "an object of schemas")
    required = schema.get("required", [])
    if not is_list(required) or not all(isinstance(each, str) for each in required):
        found = f"it is {quoted(required)}"
        raise _refused(found, f"{where}.parameters.required", "a list of names")
    return Tool(name, schema, function.get("strict") is True, f"{where}.parameters")


def _named(choice: object, known: tuple[Tool, ...]) -> Tool:
    """The tool that a choice names."""
    where = "tool_choice"
    if isinstance(choice, str) or not is_object(choice) or choice.get("type") != "function":
        expected = 'none, auto, required, or {"type": "function", "function": {"name": ...}}'
        raise _refused(f"the choice {quoted(choice)} is not supported", where, expected)
    function = choice.get("function")
    name = function.get("name") if is_object(function) else choice.get("name")
    for tool in known:
        if tool.name == name:
            return tool
    names = ", ".join(tool.name for tool in known)
    raise _refused(f"there is no tool {quoted(name)}", f"{where}.function.name", f"one of {names}")


def _refused(found: str, where: str, expected: str) -> RequestError:
    return RequestError(found, where, expected)
