"""Calls as a grammar, so that a model cannot write anything else."""

import json
from collections.abc import Callable
from typing import Any

from llguidance import regex_to_lark

from sala_compile.runtime.common.json_text import is_list, is_object
from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.serving.structure.library_grammar import WHITESPACE
from sala_compile.runtime.serving.structure.schema_checks import check_schema
from sala_compile.runtime.serving.structure.structure import Structure, StructureKind
from sala_compile.runtime.serving.tools.tool_definitions import Tool, ToolUse
from sala_compile.runtime.serving.tools.tool_formats import ArgumentStyle, ToolFormat

CALLS = 32
"""The most calls of one answer that must have some."""
_LONGEST = 1 << 18
_ANY = '{"type": "object"}'
_CHECKED = ("pattern", "format")
"""What restricts a text, and is not enforced where texts are written without quotes."""

Spell = Callable[[str], str]
"""A text as an expression of a grammar."""


def call_structure(
    form: ToolFormat, use: ToolUse, spell: Spell, *, opened: bool = False, otherwise: str = ""
) -> Structure:
    """The calls that `use` permits, as a structure; one at least, or else what is `otherwise`.

    That is an expression of a grammar. If `opened`, what follows an opening mark. The schema of a
    tool that is not `strict` and that cannot be enforced is that of any object; for others
    RequestError says why.
    """
    names = [f"call_{i}" for i in range(len(use.tools))]
    rules: list[str] = []
    for name, tool in zip(names, use.tools, strict=True):
        rules += _call(form, tool, name, spell)
    one = f"({' | '.join(names)})"
    opening = f"{spell(form.opening)} " if form.opening else ""
    between = spell(form.between) if form.between else ""
    several = use.parallel and form.several
    if form.listed:
        more = f" ({between} {one}){{0,{CALLS - 1}}}" if several else ""
        start = f'"[" {one}{more} "]"'
    elif several and not opened:
        start = f"{one} ({between} {opening}{one}){{0,{CALLS - 1}}}"
    else:
        start = one
    start = start if opened else f"{opening}{start}"
    if otherwise:
        start, rules = f"calls | otherwise\ncalls: {start}", [*rules, f"otherwise: {otherwise}"]
    source = "\n".join((f"start: {start}", *rules))
    if len(source) > _LONGEST:
        found = f"the schemas of the tools have {len(source)} characters"
        raise RequestError(found, "tools", f"at most {_LONGEST}")
    return Structure(StructureKind.LARK, source, "tools")


def _call(form: ToolFormat, tool: Tool, name: str, spell: Spell) -> list[str]:
    """The rules of the call of one tool, the first of them named `name`."""
    head, tail = form.head.replace("{}", tool.name), form.tail
    if form.style is ArgumentStyle.JSON:
        return [f"{name}: {spell(head)} {name}_json {spell(tail)}", f"{name}_json: {_json(tool)}"]
    known = tool.schema.get("properties", {})
    required = [each for each in tool.schema.get("required", ()) if each in known]
    order = [*required, *(each for each in known if each not in required)]
    made = [_argument(form, tool, each, f"{name}_{i}", spell) for i, each in enumerate(order)]
    rules = [rule for each in made for rule in each]
    parts = [f"{name}_{i}" for i in range(len(order))]
    if form.style is ArgumentStyle.TAGS:
        optional = [f"{part}?" for part in parts[len(required) :]]
        arguments = " ".join([*parts[: len(required)], *optional])
    else:
        arguments = _separated(parts, len(required))
    return [f"{name}: {spell(head)} {arguments} {spell(tail)}", *rules]


def _separated(parts: list[str], required: int) -> str:
    """Arguments with commas between them; all but the first few may be left out."""
    if required:
        optional = [f'(", " {part})?' for part in parts[required:]]
        return " ".join(['", " '.join(f"{part} " for part in parts[:required]), *optional])
    begun = [
        " ".join([part, *(f'(", " {later})?' for later in parts[i + 1 :])])
        for i, part in enumerate(parts)
    ]
    return f"({' | '.join(begun)})?" if begun else ""


def _argument(form: ToolFormat, tool: Tool, key: str, name: str, spell: Spell) -> list[str]:
    """The rules of one argument."""
    schema = within(tool.schema, tool.schema["properties"][key])
    value = _json(Tool(tool.name, schema, tool.strict, f"{tool.where}.properties.{key}"))
    if form.style is ArgumentStyle.PYTHON:
        return [f"{name}: {spell(f'{key}=')} {name}_json", f"{name}_json: {value}"]
    if not set(key).isdisjoint('"<>\n'):
        found = f"the argument {json.dumps(key)} cannot be written in this model's syntax of calls"
        raise RequestError(found, tool.where, 'names without ", <, > and line ends')
    opening, ending = spell(form.argument.replace("{}", key)), form.argument_end
    texts = _texts(schema)
    if texts is not None:
        several = " | ".join(spell(text) for text in texts)
        return [f"{name}: {opening} ({several}) {spell(ending)}"]
    if schema.get("type") != "string":
        return [f"{name}: {opening} {name}_json {spell(ending)}", f"{name}_json: {value}"]
    limits = [each for each in _CHECKED if each in schema]
    if tool.strict and limits:
        found = f"{limits[0]} of a text cannot be enforced in this model's syntax of calls"
        raise RequestError(found, f"{tool.where}.properties.{key}.{limits[0]}", "none of it")
    end, least, most = spell(ending), schema.get("minLength", 0), schema.get("maxLength", "")
    text = f"/(?s:.{{{least},{most}}})/"
    if end.startswith("<"):  # a token of its own, which is in no text
        return [f"{name}: {opening} {text} {end}"]
    return [f"{name}: {opening} {name}_text", f"{name}_text[suffix={end}]: {text}"]


def _texts(schema: dict[str, Any]) -> list[str] | None:
    """The texts that a value may be, if there are only some."""
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if is_list(values) and values and all(isinstance(value, str) for value in values):
        return values
    return None


def within(whole: dict[str, Any], part: Any) -> dict[str, Any]:
    """A schema with the definitions that it may refer to."""
    schema: dict[str, Any] = dict(part) if is_object(part) else {}
    for name in ("$defs", "definitions"):
        if name in whole and name not in schema:
            schema[name] = whole[name]
    return schema


def _json(tool: Tool) -> str:
    """The arguments as JSON by the tool's schema, or by none if that may be."""
    try:
        text = check_schema(tool.schema, tool.where)
    except RequestError:
        if tool.strict:
            raise
        text = _ANY
    return expression(Structure(StructureKind.SCHEMA, text, tool.where))


def expression(structure: Structure) -> str:
    """A structure as an expression of a grammar; RequestError for one that is a grammar."""
    if structure.kind is StructureKind.SCHEMA:
        read = json.loads(structure.source)
        schema: dict[str, Any] = read if is_object(read) else {"allOf": [read]}
        schema["x-guidance"] = {"whitespace_pattern": WHITESPACE}
        return f"%json {json.dumps(schema)}"
    if structure.kind is StructureKind.REGEX:
        return f"/{regex_to_lark(structure.source, '')}/"
    found = "a grammar cannot be an alternative to calls of tools"
    raise RequestError(found, structure.where, 'tool_choice "none", or a schema')
