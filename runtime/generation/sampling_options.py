"""How the next token is chosen."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from sala_compile.runtime.common.checks import as_number, checked_number, checked_whole, refusal
from sala_compile.runtime.common.units import is_whole

_STRONGEST_PENALTY = 1000.0
"""The strongest penalty: beyond it logits leave the range of float32."""
_STRONGEST_BIAS = 100.0
_STRONGEST_COUNT_PENALTY = 2.0

Bias = Mapping[int, float] | tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """How the next token is chosen: what each option does, in this order.

    1. `logit_bias`: its value for a token id, from -100 to 100, is added to the logit.
    2. `repetition_penalty` divides the positive and multiplies the negative logits of every token
       seen so far, those of the prompt included.
    3. `frequency_penalty`, times how often the answer has a token already, and `presence_penalty`,
       once for each token that it has, are subtracted; each from -2 to 2. The prompt does not
       count.
    4. `temperature` 0 takes the largest logit, of equal ones the lowest id. Otherwise the logits
       are divided by it.
    5. `top_k`: all but so many of the best are dropped; 0 keeps all.
    6. `top_p`: of those, all but the smallest set whose probabilities reach it are dropped.
    7. `min_p`: tokens less probable than this share of the most probable one are dropped.

    The token is drawn from what is left. A logit of plus infinity takes all probability (of
    several, the lowest id), one of minus infinity is never chosen. Equal options and `seed` give
    equal tokens on every machine that gives equal logits. Values outside their range and of
    another kind raise RequestError. `logit_bias` is given as a dictionary, and kept as pairs.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    seed: int = 0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Bias = ()

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        ranges = {
            "temperature": (0, math.inf, "0 or more"),
            "top_p": (math.nextafter(0, 1), 1, "above 0, at most 1"),
            "min_p": (0, 1, "from 0 to 1, 0 keeps all tokens"),
            "repetition_penalty": (
                *(1 / _STRONGEST_PENALTY, _STRONGEST_PENALTY),
                "from 0.001 to 1000, 1 changes nothing",
            ),
            "presence_penalty": _count_range(),
            "frequency_penalty": _count_range(),
        }
        for name, (least, most, expected) in ranges.items():
            self._set(name, checked_number(name, getattr(self, name), least, most, expected))
        for name, expected in (
            ("top_k", "a whole number, 0 keeps all tokens"),
            ("seed", "a whole number, 0 or more"),
        ):
            self._set(name, checked_whole(name, getattr(self, name), 0, expected))
        self._set("logit_bias", _pairs(self.logit_bias))

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    @staticmethod
    def names() -> tuple[str, ...]:
        """The names of all options."""
        return tuple(field.name for field in fields(SamplingOptions))


def _count_range() -> tuple[float, float, str]:
    limit = _STRONGEST_COUNT_PENALTY
    return -limit, limit, f"from {-limit:g} to {limit:g}, 0 changes nothing"


def _pairs(bias: object) -> tuple[tuple[int, float], ...]:
    """The biases by ascending id; RequestError for anything but ids with numbers."""
    expected = f"a dictionary of token ids with numbers from -{_STRONGEST_BIAS:g} to 100"
    if bias is None:
        return ()
    try:
        items: dict[Any, Any] = dict(bias)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        raise refusal("logit_bias", bias, expected) from None
    for token, value in items.items():
        number = as_number(value)
        if not is_whole(token) or token < 0 or number is None or abs(number) > _STRONGEST_BIAS:
            raise refusal("logit_bias", {token: value}, expected)
    return tuple(sorted((int(token), float(value)) for token, value in items.items()))
