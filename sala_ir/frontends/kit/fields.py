"""Types of single fields of a config, and errors about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails

from sala_compile.runtime.common.json_text import quoted
from sala_compile.runtime.errors import ConfigError

MAX_LAYERS, MAX_HEADS, MAX_HEAD_DIM, MAX_BLOCK = 256, 1024, 1024, 4096
"""Far more than any model has: what the compiler does grows with them."""

Count = Annotated[int, Field(gt=0, lt=2**31)]
"""A positive size that fits int32."""

Layers = Annotated[int, Field(gt=0, le=MAX_LAYERS)]
Heads = Annotated[int, Field(gt=0, le=MAX_HEADS)]
HeadDim = Annotated[int, Field(gt=0, le=MAX_HEAD_DIM)]
Block = Annotated[int, Field(gt=0, le=MAX_BLOCK)]
"""Neighbouring tokens that are read or averaged together."""

Cardinal = Annotated[int, Field(ge=0, lt=2**31)]
"""A size that may be 0 and fits int32."""

LARGEST, SMALLEST = 3.4e38, 1.2e-38
"""Sizes between which real numbers are normal ones of float32."""

Normal = Field(gt=SMALLEST)

Positive = Annotated[float, Field(gt=0, le=LARGEST, allow_inf_nan=False), Normal]
"""A positive real number that float32 holds."""

Real = Annotated[float, Field(ge=-LARGEST, le=LARGEST, allow_inf_nan=False)]
"""A real number that float32 holds."""

Refuse = Callable[[str, Any, str, str], ConfigError]
"""(field, found, expected, fix) -> error."""

_EXPECTED: Mapping[str, str] = {
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "model_type": "an object",
    "model_attributes_type": "an object",
}

_MISSING_FIX = "add the value that the model was trained with: it is not guessed"


def layer_count(fields: Mapping[str, Any]) -> int | None:
    """`num_hidden_layers`, if a list of so many layers can be made; None is left to validation."""
    layers = fields.get("num_hidden_layers")
    return layers if type(layers) is int and 0 < layers <= MAX_LAYERS else None


def config_error(file: str, field: str, found: Any, expected: str, fix: str) -> ConfigError:
    """A `ConfigError` on one field; `found` None means that the field is missing."""
    text = f"{field} is missing" if found is None else f"{field} is {quoted(found)}"
    return ConfigError(text, where=f"{file}: {field}", expected=expected, fix=fix)


def from_validation(error: ValidationError, file: str, prefix: str = "") -> ConfigError:
    """The first problem that pydantic found, as a `ConfigError`; `prefix` begins the field."""
    first = error.errors(include_url=False)[0]
    field = prefix + _path(first["loc"])
    if first["type"] == "missing":
        return config_error(file, field, None, "a value", _MISSING_FIX)
    if first["type"] == "extra_forbidden":
        return config_error(
            file, field, first["input"], "no such field", "its meaning is unknown: remove it"
        )
    return config_error(file, field, first["input"], _expected(first), "correct the field")


def _expected(detail: ErrorDetails) -> str:
    found = _EXPECTED.get(detail["type"])
    if found is not None:
        return found
    return detail["msg"].removeprefix("Input should be ")


def _path(location: tuple[int | str, ...]) -> str:
    """`a.b[2]` from ("a", "b", 2)."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text
