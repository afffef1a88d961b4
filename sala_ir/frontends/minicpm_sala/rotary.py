"""Where a config may say the base of the rotary frequencies, and that they are not scaled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sala_ir.frontends.minicpm_sala.fields import config_error

_PLACES = ("rope_scaling", "rope_parameters")
_KNOWN = ("rope_type", "type", "rope_theta")


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
                f"the same as rope_theta, {theta!r}",
                "keep one of the two fields",
            )
        theta = inner
    return theta


def _unscaled(value: Any, place: str, file: str) -> Mapping[str, Any]:
    """The object if it asks for no scaling."""
    if not isinstance(value, dict):
        raise config_error(file, place, value, "null or an object", "correct the field")
    kind = value.get("rope_type", value.get("type", "default"))
    foreign = [name for name, item in value.items() if name not in _KNOWN and item is not None]
    if kind != "default" or foreign:
        raise config_error(
            file,
            place,
            value,
            'null, or {"rope_type": "default"}: rotary scaling is not supported',
            "use a checkpoint without rotary scaling",
        )
    return value
