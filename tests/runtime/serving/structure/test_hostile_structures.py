"""Schemas, expressions and grammars that take too much end in an error, and nothing else ends."""

from collections.abc import Iterator
from typing import Any

import pytest

from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.serving.structure.structure import Structure
from sala_compile.runtime.serving.structure.structures import Structures
from sala_compile.runtime.text.tokenizer import Tokenizer
from tests.support.tokenizers import EOS, byte_level, token_id


@pytest.fixture(scope="module")
def structures() -> Iterator[Structures]:
    tokenizer = Tokenizer(byte_level(), {})
    made = Structures(tokenizer, tokenizer.vocabulary, {token_id(tokenizer.core, EOS)})
    yield made
    made.compile(Structure.choice(["still", "here"]))
    made.close()


def chain(count: int, link: Any) -> dict[str, Any]:
    """A schema of so many definitions, each made of the next by `link`."""
    definitions = {f"a{i}": link({"$ref": f"#/$defs/a{i + 1}"}) for i in range(count)}
    return {"$ref": "#/$defs/a0", "$defs": definitions | {f"a{count}": {"type": "null"}}}


def nested(count: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(count):
        schema = {"type": "array", "items": schema}
    return schema


SCHEMAS: dict[str, Any] = {
    "nested deeply": nested(900),
    "no schema": [1],
    "a number beyond all": {"const": 10**400},
    "null characters": {"type": "string", "pattern": "(\u0000"},
    "text that is no JSON": "{",
    "an unknown type": {"type": "bogus"},
    "false": False,
    "nothing is valid": {"type": "string", "minLength": 5, "maxLength": 3},
    "a reference to nothing": {"$ref": "#/$defs/x"},
    "a reference elsewhere": {"$ref": "http://127.0.0.1:1/x"},
    "a reference to a file": {"$ref": "file:///etc/passwd"},
    "a reference to itself": {"$ref": "#"},
    "references in a circle": chain(1, lambda _: {"$ref": "#/$defs/a0"}),
    "too many references": chain(3000, lambda each: each),
    "many values": {"enum": list(range(50_000))},
    "much text": {"const": "x" * 200_000},
    "half a character": {"const": "\ud800"},
    "a long count": {"type": "string", "minLength": 10**9},
    "an endless remainder": {"type": "integer", "multipleOf": 12_345_678},
    "a remainder of zero": {"type": "number", "multipleOf": 0},
    "patterns that hold at once": {
        "allOf": [{"type": "string", "pattern": f".*{chr(97 + i)}.{{{20 + i}}}"} for i in range(20)]
    },
    "alternatives of alternatives": {
        "allOf": [{"anyOf": [{"required": [f"a{i}"]}, {"required": [f"b{i}"]}]} for i in range(18)],
        "type": "object",
    },
    "too many properties": {
        "type": "object",
        "properties": {f"p{i}": {"type": "string"} for i in range(4000)},
    },
    "one of what overlaps": {"oneOf": [{"type": "integer"}, {"type": "number"}]},
}
UNSUPPORTED = [
    *("not", "if", "dependentSchemas", "dependentRequired", "propertyNames", "x-guidance"),
    *("unevaluatedProperties", "unevaluatedItems", "uniqueItems", "contains", "$dynamicRef"),
]


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_end_in_an_error(structures: Structures, name: str):
    with pytest.raises(RequestError) as found:
        structures.compile(Structure.schema(SCHEMAS[name], "response_format.here"))
    assert str(found.value.where).startswith("response_format.here")
    assert len(str(found.value)) < 1000


@pytest.mark.parametrize("keyword", UNSUPPORTED)
def test_keywords_that_cannot_be_enforced_are_refused_by_name(keyword: str):
    schema = {"type": "object", "properties": {"a": {"items": {keyword: True}}}}
    with pytest.raises(RequestError, match=re_escape(keyword)) as found:
        Structure.schema(schema, "here")
    assert found.value.where == f"here.properties.a.items.{keyword}"


def re_escape(text: str) -> str:
    return text.replace("$", r"\$")


def test_a_property_may_have_the_name_of_a_keyword(structures: Structures):
    properties = {name: {"type": "integer"} for name in UNSUPPORTED}
    structures.compile(Structure.schema({"type": "object", "properties": properties}))
    structures.compile(Structure.schema({"const": {"not": 1}}))


@pytest.mark.parametrize("count", [100, 400])
def test_deep_chains_of_references_compile(structures: Structures, count: int):
    structures.compile(
        Structure.schema(chain(count, lambda each: {"type": "object", "properties": {"x": each}}))
    )


REGEXES = {
    "parentheses": "(" * 4000 + "a" + ")" * 4000,
    "too long": "a|" * 10_000,
    "look ahead": "(?=a)b",
    "broken": "(a",
    "nothing matches": "[^\\s\\S]",
    "empty": "",
    "half a character": "\ud800",
}
GRAMMARS = {
    "parentheses": "start: " + "(" * 10_000 + '"a"' + ")" * 10_000,
    "too long": "start: " + "|".join(f'"{i}"' for i in range(10_000)),
    "too many rules": "start: r0\n" + "\n".join(f"r{i}: r{i + 1}" for i in range(1000)),
    "doubled terminals": "start: A0\n"
    + "\n".join(f"A{i}: A{i + 1} A{i + 1}" for i in range(60))
    + '\nA60: "a"',
    "doubled rules": "start: r0\n"
    + "\n".join(f"r{i}: r{i + 1} r{i + 1}" for i in range(60))
    + '\nr60: "a"',
    "terminals that hold at once": "start: A\nA: /(.*a.{20}){5}/ & /(.*b.{21}){5}/"
    " & ~/(.*c.{22}){5}/",
    "a terminal of itself": "start: A\nA: A",
    "a rule of itself": "start: start",
    "no start": 'begin: "a"',
    "a file": '%import /etc/passwd\nstart: "a"',
    "an unknown import": "%import secrets.TOKEN\nstart: TOKEN",
    "broken": "start: (",
    "empty": "",
    "half a character": 'start: "\ud800"',
}


@pytest.mark.parametrize("name", REGEXES)
def test_expressions_end_in_an_error(structures: Structures, name: str):
    with pytest.raises(RequestError) as found:
        structures.compile(Structure.regex(REGEXES[name], "here"))
    assert found.value.where == "here"


@pytest.mark.parametrize("name", GRAMMARS)
def test_grammars_end_in_an_error(structures: Structures, name: str):
    with pytest.raises(RequestError) as found:
        structures.compile(Structure.grammar(GRAMMARS[name], "here"))
    assert found.value.where == "here"


def test_an_answer_whose_grammar_becomes_too_large_ends_in_an_error(structures: Structures):
    constraint = structures.compile(Structure.regex("((a{1,900}){1,900}){1,900}")).constraint()
    token = structures.tokens.tokenizer.encode("a")[0]

    def follow() -> None:
        for _ in range(5000):
            constraint.allowed()
            constraint.accept(token)

    with pytest.raises(RequestError, match="takes too much"):
        follow()


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": 3}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"structured_outputs": {"tag": 1}}, "structured_outputs.tag"),
        ({"structured_outputs": [1]}, "structured_outputs"),
        ({"structured_outputs": {"choice": []}}, "structured_outputs.choice"),
        ({"structured_outputs": {"choice": [1]}}, "structured_outputs.choice"),
        ({"guided_regex": 3}, "guided_regex"),
        (
            {"response_format": {"type": "json_object"}, "guided_regex": "a"},
            "guided_regex",
        ),
        ({"structured_outputs": {"regex": "a", "choice": ["b"]}}, "structured_outputs.choice"),
    ],
)
def test_fields_of_requests_are_refused_by_name(fields: dict[str, Any], where: str):
    with pytest.raises(RequestError) as found:
        Structure.of_request(fields)
    assert found.value.where == where


def test_a_schema_that_is_true_permits_any_value(structures: Structures):
    structures.compile(Structure.schema(True))


def test_fields_of_requests_are_read():
    assert Structure.of_request({"response_format": {"type": "text"}, "guided_json": None}) is None
    schema = {"type": "integer"}
    described = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    found = Structure.of_request({"response_format": described})
    assert found == Structure.schema(schema)
    for fields in ({"guided_json": schema}, {"structured_outputs": {"json": '{"type":"integer"}'}}):
        made = Structure.of_request(fields)
        assert made is not None
        assert made.source == '{"type": "integer"}'
