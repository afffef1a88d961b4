"""Configs that say layer by layer which mixer there is."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from sala_compile.runtime.common.json_text import is_list
from sala_compile.sala_ir.field_rules import FieldRule
from sala_compile.sala_ir.frontends.kit.fields import Refuse

FIELD = "layer_types"


def kinds_rule(kinds: type[StrEnum]) -> FieldRule:
    """A list of these kinds."""

    def takes(value: Any) -> bool:
        return is_list(value) and all(isinstance(k, str) and k in set(kinds) for k in value)

    return FieldRule(takes, "a list of " + " and ".join(f'"{kind.value}"' for kind in kinds))


def fill_kinds(fields: dict[str, Any], kinds: type[StrEnum]) -> None:
    """The list as values of the type."""
    if FIELD in fields:
        fields[FIELD] = tuple(map(kinds, fields[FIELD]))


def check_kinds(found: Sequence[StrEnum], layers: int, refuse: Refuse) -> None:
    """Raise `ConfigError` unless there is an entry for each layer."""
    if len(found) != layers:
        expected, fix = f"one entry for each of the {layers} layers", "correct the list"
        raise refuse(FIELD, f"a list of {len(found)}", expected, fix)
