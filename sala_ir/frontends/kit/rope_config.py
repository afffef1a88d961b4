"""What a config says of rotary embeddings: the base of the frequencies, and how they are scaled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from sala_compile.runtime.common.json_text import quoted
from sala_compile.sala_ir.field_rules import NO_EFFECT, USED, FieldRules, only
from sala_compile.sala_ir.frontends.kit.fields import (
    Count,
    Positive,
    Real,
    config_error,
    from_validation,
)

_PLACES = ("rope_scaling", "rope_parameters")
_ORIGINAL = "original_max_position_embeddings"
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "linear": ("factor",),
    "yarn": ("factor", _ORIGINAL),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", _ORIGINAL),
    "longrope": ("short_factor", "long_factor", _ORIGINAL),
    "frequencies": ("inverse_frequencies",),
}
"""Fields that a kind cannot do without."""
_BY_FACTOR = ("linear", "yarn", "llama3")
"""Kinds that divide some positions or frequencies by the factor alone, and scale by its logarithm.

The others (dynamic, longrope, proportional) depend on more than a factor.
"""

_WITHOUT_EFFECT: FieldRules = {
    "rope_type": only("default", *_BY_FACTOR),
    "type": only("default", *_BY_FACTOR),
    "rope_theta": USED,
    "factor": only(1.0),
    # which frequencies are scaled, and by how much more: nothing where the factor is 1.0
    **dict.fromkeys(("beta_fast", "beta_slow", "truncate", "mscale", "mscale_all_dim"), NO_EFFECT),
    **dict.fromkeys(("low_freq_factor", "high_freq_factor"), NO_EFFECT),
    "attention_factor": only(1.0),
    "partial_rotary_factor": only(1.0),
    _ORIGINAL: NO_EFFECT,  # of scalings that begin there
}

_OF_PICTURES = ("mrope_section", "mrope_interleaved")
"""Which of three positions of a token turns what: of text all three are equal."""


class Rope(BaseModel):
    """A scaling of rotary frequencies, by the names of `rope_scaling`; `default` is none."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    rope_type: str = "default"
    factor: Positive = 1.0
    low_freq_factor: Positive = 1.0
    high_freq_factor: Positive = 1.0
    original_max_position_embeddings: Count = 1
    beta_fast: Positive = 32.0
    beta_slow: Positive = 1.0
    truncate: bool = True
    attention_factor: Positive | None = None
    mscale: Real | None = None
    mscale_all_dim: Real | None = None
    short_factor: tuple[Positive, ...] = ()
    long_factor: tuple[Positive, ...] = ()
    inverse_frequencies: tuple[Positive, ...] = ()
    """Those of the kind `frequencies`: a scaling of which only the result is known."""


def read_rope(
    fields: Mapping[str, Any], kinds: tuple[str, ...], file: str, *, partial: bool = False
) -> dict[str, Any]:
    """`rope_theta` (absent if no place has it) and `rope`, from wherever a config may say them.

    With `partial` the same for `partial_rotary_factor`. Raises `ConfigError` for a scaling that is
    none of `kinds`, and where two places disagree.
    """
    found: dict[str, Any] = {"rope_theta": fields.get("rope_theta"), "rope": Rope()}
    names = ["rope_theta"]
    if partial:
        names.append("partial_rotary_factor")
        found["partial_rotary_factor"] = fields.get("partial_rotary_factor")
    for place in _PLACES:
        value = fields.get(place)
        if value is None:
            continue
        if not isinstance(value, dict):
            raise config_error(file, place, value, "null or an object", "correct the field")
        items = cast(dict[str, Any], value).items()
        given = {n: item for n, item in items if item is not None and n not in _OF_PICTURES}
        for name in names:
            own = given.pop(name, None)
            if None not in (own, found[name]) and own != found[name]:
                raise config_error(
                    file,
                    f"{place}.{name}",
                    own,
                    f"the same as {name}, {quoted(found[name])}",
                    "keep one of the two fields",
                )
            found[name] = found[name] if own is None else own
        if not _has_no_effect(given):
            rope = _scaling(fields, place, given, kinds, file)
            if found["rope"] not in (Rope(), rope):
                expected, fix = f"the same as {_PLACES[0]}", "keep one of the two fields"
                raise config_error(file, place, value, expected, fix)
            found["rope"] = rope
    return {name: value for name, value in found.items() if value is not None}


def _has_no_effect(given: Mapping[str, Any]) -> bool:
    """Whether the object asks for no scaling: every field is without effect at its value."""
    rules = _WITHOUT_EFFECT
    is_known = all(name in rules and rules[name].takes(item) for name, item in given.items())
    kinds = [given.get(name, "default") for name in ("rope_type", "type")]
    return is_known and (kinds == ["default", "default"] or "factor" in given)


def _scaling(
    fields: Mapping[str, Any],
    place: str,
    given: Mapping[str, Any],
    kinds: tuple[str, ...],
    file: str,
) -> Rope:
    """The scaling that changes frequencies, one of `kinds`."""
    kind = given.get("rope_type", given.get("type"))
    if not isinstance(kind, str) or kind not in kinds or given.get("type", kind) != kind:
        others = "".join(f', {{"rope_type": "{name}", ...}}' for name in kinds)
        raise config_error(
            file,
            place,
            fields[place],
            f'null, {{"rope_type": "default"}}{others}, or a factor of 1.0: any other rotary '
            "scaling is not supported",
            "use a checkpoint without rotary scaling",
        )
    read = {name: item for name, item in given.items() if name != "type"} | {"rope_type": kind}
    trained = fields.get("max_position_embeddings")
    if _ORIGINAL in _NEEDED[kind]:
        read[_ORIGINAL] = _original_length(fields, read, place, file)
    if kind == "longrope":
        read |= _long_rope(read, trained)
    if isinstance(listed := read.get("inverse_frequencies"), list):
        read["inverse_frequencies"] = tuple(cast(list[Any], listed))
    for name in _NEEDED[kind]:
        if read.get(name) is None:
            fix = "add the value that the model was trained with: it is not guessed"
            raise config_error(file, f"{place}.{name}", None, "a value", fix)
    try:
        rope = Rope.model_validate(read)
    except ValidationError as error:
        raise from_validation(error, file, f"{place}.") from error
    if kind == "llama3" and rope.high_freq_factor <= rope.low_freq_factor:
        expected, fix = f"above low_freq_factor, {rope.low_freq_factor}", "correct the field"
        raise config_error(file, f"{place}.high_freq_factor", rope.high_freq_factor, expected, fix)
    return rope


def _original_length(
    fields: Mapping[str, Any], read: Mapping[str, Any], place: str, file: str
) -> Any:
    """The length before the scaling: it says so, or the config, or it is the trained one.

    As transformers, which takes the config's where both are there: here they must agree.
    """
    inner, outer = read.get(_ORIGINAL), fields.get(_ORIGINAL)
    if None not in (inner, outer) and inner != outer:
        expected = f"the same as {_ORIGINAL} outside of it, {quoted(outer)}"
        fix = "keep one of the two fields"
        raise config_error(file, f"{place}.{_ORIGINAL}", inner, expected, fix)
    given = outer if inner is None else inner
    falls_back = given is None and read["rope_type"] != "longrope"  # whose factor needs both
    return fields.get("max_position_embeddings") if falls_back else given


def _long_rope(read: Mapping[str, Any], trained: Any) -> dict[str, Any]:
    """What a LongRoPE scaling leaves to other fields, and its lists as tuples."""
    original, filled = read[_ORIGINAL], dict[str, Any]()
    if "factor" not in read and type(original) is int and type(trained) is int and original > 0:
        filled["factor"] = trained / original
    for name in ("short_factor", "long_factor"):
        value = read.get(name)
        filled[name] = tuple(cast(list[Any], value)) if isinstance(value, list) else value
    return filled
