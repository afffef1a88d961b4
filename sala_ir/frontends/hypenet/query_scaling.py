"""`attn_logits_scaling`: what multiplies the queries of attention, perhaps by position."""

from __future__ import annotations

import math
from typing import Any

from pydantic import BaseModel, ConfigDict

from sala_compile.sala_ir.frontends.kit.fields import LARGEST, config_error

_FIELD = "attn_logits_scaling"
_USUAL_OFFSET = 362.0
"""Where the text has one word."""
_LARGEST_OFFSET = 2.0**20
"""Far above any published one; its sum with a position is exact enough in float32."""


class QueryScaling(BaseModel):
    """ln(position + offset) * factor; the factor alone with an offset of 0."""

    model_config = ConfigDict(frozen=True)

    offset: float = 0.0
    factor: float = 1.0


def query_scaling(value: Any, file: str) -> QueryScaling:
    """A number is a constant; "hype 500" is ln(position + 500) / ln(500), "hype" has 362.

    The publisher's class takes any first word, and truncates the second in the denominator.
    Raises `ConfigError` for anything else.
    """
    if isinstance(value, float) and 0 < value <= LARGEST:
        return QueryScaling(factor=value)
    words = value.split() if isinstance(value, str) else []
    offset = _number(words[1]) if len(words) == 2 else _USUAL_OFFSET
    if len(words) in (1, 2) and 2 <= offset <= _LARGEST_OFFSET:
        return QueryScaling(offset=offset, factor=1 / math.log(int(offset)))
    raise config_error(
        file,
        _FIELD,
        value,
        f'null, a real number above 0 such as 1.5, or a text such as "hype 500" with a number from '
        f"2 to {int(_LARGEST_OFFSET)}",
        "write what the publisher gives for this model",
    )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
