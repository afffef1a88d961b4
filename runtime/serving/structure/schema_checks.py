"""Which JSON schemas can be enforced, and how large they may be."""

import json
import math
from collections.abc import Iterator
from typing import Any

from sala_compile.runtime.common.json_text import (
    JsonLimits,
    is_list,
    is_object,
    json_kind,
    parse_json,
    quoted,
)
from sala_compile.runtime.errors import RequestError

SCHEMA_BYTES = 1 << 17
SCHEMA_DEPTH = 64
SCHEMA_VALUES = 20_000
REFERENCES = 500
"""Each is a call of the compiler within another one, at worst."""
_LONGEST = 100_000
_MULTIPLE = 10_000
"""A compiled schema counts modulo this number."""

_UNSUPPORTED = frozenset(
    {
        *("not", "if", "then", "else", "$dynamicRef", "$recursiveRef", "x-guidance"),
        *("dependentSchemas", "dependentRequired", "dependencies", "propertyNames"),
        *("unevaluatedProperties", "unevaluatedItems", "uniqueItems", "additionalItems"),
        *("contains", "minContains", "maxContains"),
    }
)
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_ONE = ("additionalProperties", "items")
_SEVERAL = ("allOf", "anyOf", "oneOf", "prefixItems")
_NAMED = ("properties", "patternProperties", "$defs", "definitions")


def check_schema(schema: object, where: str) -> str:
    """The JSON text of `schema`; RequestError with the place of what cannot be enforced."""
    if isinstance(schema, str):
        limits = JsonLimits(size=SCHEMA_BYTES, depth=SCHEMA_DEPTH, values=SCHEMA_VALUES)
        fix = "give the schema as an object"
        schema = parse_json(schema, where, RequestError, fix=fix, limits=limits)
    if schema is True:
        schema = {}
    if not is_object(schema):
        raise _refused(f"the schema is {json_kind(schema)}", where, "a JSON object")
    _check_size(schema, where)
    references = 0
    for place, each in _schemas(schema, where):
        _check_keywords(each, place)
        references += "$ref" in each
    if references > REFERENCES:
        raise _refused(f"it has {references} references", where, f"at most {REFERENCES}")
    text = json.dumps(schema)
    if len(text) > SCHEMA_BYTES:
        raise _refused(f"it has {len(text)} characters", where, f"at most {SCHEMA_BYTES}")
    return text


def _check_size(schema: Any, where: str) -> None:
    """Refuse what is nested too deeply or has too many values, without recursion."""
    level, values = [schema], 0
    for _ in range(SCHEMA_DEPTH):
        level = [
            part
            for value in level
            for part in (value.values() if is_object(value) else value if is_list(value) else ())
        ]
        values += len(level)
        if values > SCHEMA_VALUES:
            raise _refused(f"it has more than {SCHEMA_VALUES} values", where, "a smaller schema")
        if not level:
            return
    raise _refused("it is nested too deeply", where, f"at most {SCHEMA_DEPTH} levels")


def _schemas(schema: Any, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """All schemas in `schema` that are objects, each with its place."""
    if not is_object(schema):
        return
    yield where, schema
    for name in _ONE:
        yield from _schemas(schema.get(name), f"{where}.{name}")
    for name in _SEVERAL:
        several = schema.get(name)
        for i, each in enumerate(several if is_list(several) else ()):
            yield from _schemas(each, f"{where}.{name}[{i}]")
    for name in _NAMED:
        named = schema.get(name)
        for key, each in named.items() if is_object(named) else ():
            yield from _schemas(each, f"{where}.{name}.{key}")


def _check_keywords(schema: dict[str, Any], where: str) -> None:
    unsupported = sorted(_UNSUPPORTED & schema.keys())
    if unsupported:
        raise _refused(
            f"the keyword {unsupported[0]} cannot be enforced",
            f"{where}.{unsupported[0]}",
            "a schema without it",
        )
    for name in _COUNTS:
        value = schema.get(name)
        if isinstance(value, int | float) and value > _LONGEST:
            raise _refused(f"it is {value}", f"{where}.{name}", f"at most {_LONGEST}")
    multiple = schema.get("multipleOf")
    if isinstance(multiple, int | float) and not _is_simple(multiple):
        expected = f"a number of at most {_MULTIPLE} units of its last decimal place"
        raise _refused(f"it is {quoted(multiple)}", f"{where}.multipleOf", expected)


def _is_simple(number: float) -> bool:
    """Whether a positive number is few units of its last decimal place."""
    if not math.isfinite(number) or number <= 0:
        return False
    digits = f"{number:.10f}".rstrip("0").replace(".", "").lstrip("0")
    return bool(digits) and int(digits) <= _MULTIPLE


def _refused(found: str, where: str, expected: str) -> RequestError:
    return RequestError(found, where, expected, "change the schema, or request no structure")
