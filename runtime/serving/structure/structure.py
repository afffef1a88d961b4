"""What a request wants an answer to follow."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sala_compile.runtime.common.json_text import is_list, is_object, json_kind, quoted
from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.serving.structure.schema_checks import check_schema
from sala_compile.runtime.serving.structure.source_checks import check_grammar, check_regex

_CHOICES = 1000
_FORMS = ("json", "regex", "choice", "grammar", "json_object")


class StructureKind(StrEnum):
    """How a structure is written."""

    SCHEMA = "json_schema"
    REGEX = "regex"
    LARK = "grammar"


@dataclass(frozen=True, slots=True)
class Structure:
    """A schema (as JSON), a regular expression, or a grammar in llguidance's form of Lark.

    `where` is the field of the request that has it. Made by the functions below, which check its
    size and refuse what cannot be enforced; whether it compiles is seen when it is.
    """

    kind: StructureKind
    source: str
    where: str

    @staticmethod
    def json_object(where: str = "response_format") -> "Structure":
        """Any JSON object."""
        return Structure.schema({"type": "object"}, where)

    @staticmethod
    def schema(schema: object, where: str = "response_format.json_schema.schema") -> "Structure":
        """JSON that is valid by `schema`; RequestError for keywords that cannot be enforced."""
        return Structure(StructureKind.SCHEMA, check_schema(schema, where), where)

    @staticmethod
    def regex(pattern: object, where: str = "structured_outputs.regex") -> "Structure":
        """Text that matches a regular expression as a whole."""
        return Structure(StructureKind.REGEX, check_regex(pattern, where), where)

    @staticmethod
    def choice(texts: object, where: str = "structured_outputs.choice") -> "Structure":
        """One of several texts."""
        if not is_list(texts) or not texts or not all(isinstance(text, str) for text in texts):
            raise _refused(f"the choice is {quoted(texts)}", where, "a list of texts")
        if len(texts) > _CHOICES:
            found = f"there are {len(texts)} texts to choose from"
            raise _refused(found, where, f"at most {_CHOICES}")
        source = "start: " + " | ".join(json.dumps(text) for text in texts)
        return Structure(StructureKind.LARK, check_grammar(source, where), where)

    @staticmethod
    def grammar(source: object, where: str = "structured_outputs.grammar") -> "Structure":
        """Text of the language of a grammar, whose first rule is `start`."""
        return Structure(StructureKind.LARK, check_grammar(source, where), where)

    @staticmethod
    def of_request(fields: Mapping[str, Any]) -> "Structure | None":
        """The structure that a request's fields name, None for none.

        They are OpenAI's `response_format`, vLLM's `structured_outputs` and the older
        `guided_json`, `guided_regex`, `guided_choice`, `guided_grammar`, `guided_json_object`; None
        counts as absent. RequestError for two at once, and for a kind that is not known.
        """
        found = [*_of_format(fields), *_of_outputs(fields)]
        for name in _FORMS:
            given = fields.get(f"guided_{name}")
            if given is not None:
                found += _of_form(name, given, f"guided_{name}")
        if len(found) > 1:
            names = ", ".join(each.where for each in found)
            raise _refused(
                f"the answer cannot follow all of {names}", found[1].where, "one of them"
            )
        return found[0] if found else None


def _of_format(fields: Mapping[str, Any]) -> list[Structure]:
    """That of `response_format`, none for plain text."""
    given, where = fields.get("response_format"), "response_format"
    if given is None:
        return []
    kind = given.get("type") if is_object(given) else None
    if kind == "text":
        return []
    if kind == "json_object":
        return [Structure.json_object(where)]
    if kind == "json_schema":
        described = given.get("json_schema")
        if not is_object(described):
            found = f"json_schema is {json_kind(described)}"
            raise _refused(found, f"{where}.json_schema", "an object with name and schema")
        schema = described.get("schema", {"type": "object"})
        return [Structure.schema(schema, f"{where}.json_schema.schema")]
    expected = "text, json_object or json_schema"
    raise _refused(f"the type is {quoted(kind)}", f"{where}.type", expected)


def _of_outputs(fields: Mapping[str, Any]) -> list[Structure]:
    """Those of `structured_outputs`."""
    given, where = fields.get("structured_outputs"), "structured_outputs"
    if given is None:
        return []
    if not is_object(given):
        raise _refused(f"it is {json_kind(given)}", where, "an object")
    values = {name: value for name, value in given.items() if value is not None}
    unknown = [name for name in values if name not in _FORMS]
    if unknown:
        expected = f"one of {', '.join(_FORMS)}"
        raise _refused(f"{quoted(unknown[0])} is not supported", f"{where}.{unknown[0]}", expected)
    return [each for name in values for each in _of_form(name, values[name], f"{where}.{name}")]


def _of_form(name: str, given: Any, where: str) -> Sequence[Structure]:
    if name == "json_object":
        return [Structure.json_object(where)] if given else []
    made = {
        "json": Structure.schema,
        "regex": Structure.regex,
        "choice": Structure.choice,
        "grammar": Structure.grammar,
    }
    return [made[name](given, where)]


def _refused(found: str, where: str, expected: str) -> RequestError:
    return RequestError(found, where, expected)
