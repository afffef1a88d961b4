"""Where a config may say the base of the rotary frequencies, and that they are not scaled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sala_compile.runtime.common.json_text import quoted
from sala_compile.sala_ir.field_rules import NO_EFFECT, USED, FieldRules, only
from sala_compile.sala_ir.frontends.minicpm_sala.fields import config_error

_PLACES = ("rope_scaling", "rope_parameters")

_SCALINGS = ("linear", "yarn", "llama3")
"""Kinds that divide some positions or frequencies by the factor alone, and scale by its logarithm.

The others (dynamic, longrope, proportional) depend on more than a factor.
"""

_RULES: FieldRules = {
    "rope_type": only("default", *_SCALINGS),
    "type": only("default", *_SCALINGS),
    "rope_theta": USED,
    "factor": only(1.0),
    # which frequencies are scaled, and by how much more: nothing where the factor is 1.0
    **dict.fromkeys(("beta_fast", "beta_slow", "truncate", "mscale", "mscale_all_dim"), NO_EFFECT),
    **dict.fromkeys(("low_freq_factor", "high_freq_factor"), NO_EFFECT),
    "attention_factor": only(1.0),
    "partial_rotary_factor": only(1.0),
    "original_max_position_embeddings": NO_EFFECT,  # of scalings that begin there
}


def read_theta(fields: Mapping[str, Any], file: str) -> Any:
    """`rope_theta`, at the top level or inside `rope_parameters` or `rope_scaling`; None if absent.

    Raises `ConfigError` for any scaling, and where two places disagree.
    """
    theta = fields.get("rope_theta")
    for place in _PLACES:
        value = fields.get(place)
        if value is None:
            continue
        inner = _unscaled(value, place, file).get("rope_theta")
        if inner is None:
            continue
        if theta is not None and inner != theta:
            raise config_error(
                file,
                f"{place}.rope_theta",
                inner,
                f"the same as rope_theta, {quoted(theta)}",
                "keep one of the two fields",
            )
        theta = inner
    return theta


def _unscaled(value: Any, place: str, file: str) -> Mapping[str, Any]:
    """The object if it asks for no scaling: every field is without effect at its value."""
    if not isinstance(value, dict):
        raise config_error(file, place, value, "null or an object", "correct the field")
    given = {name: item for name, item in value.items() if item is not None}
    is_known = all(name in _RULES and _RULES[name].takes(item) for name, item in given.items())
    kinds = [given.get(name, "default") for name in ("rope_type", "type")]
    if not is_known or (kinds != ["default", "default"] and "factor" not in given):
        raise config_error(
            file,
            place,
            value,
            'null, {"rope_type": "default"}, or a factor of 1.0: any other rotary scaling is not '
            "supported",
            "use a checkpoint without rotary scaling",
        )
    return value
