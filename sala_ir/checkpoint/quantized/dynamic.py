"""`dynamic` of GPTQ: patterns of module names, and what they change of the configuration.

Patterns are regular expressions that a stranger wrote. RE2 matches them in time that grows with
the name alone; look-around and back references, which it does not have, are refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from sala_compile.runtime.common.json_text import quoted
from sala_compile.runtime.errors import CheckpointError
from sala_compile.sala_ir.checkpoint.quantized.known_fields import GPTQ
from sala_compile.sala_ir.field_rules import check_fields

PATTERNS = 1024
"""Patterns of a configuration."""
PATTERN_LENGTH = 1000
"""Characters of a pattern."""
_MEMORY = 1 << 20
"""Bytes that RE2 may take for a pattern."""


@dataclass(frozen=True, slots=True)
class Override:
    """A compiled pattern, and the fields that it changes; None: the module is not quantised."""

    pattern: str
    compiled: Any
    changes: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Overrides:
    """All of them in order, the first that matches counts; and unknown fields."""

    entries: tuple[Override, ...]
    place: str
    unknown: tuple[str, ...] = ()

    @staticmethod
    def of(dynamic: Mapping[str, Any], place: str) -> "Overrides":
        """The overrides of a configuration; CheckpointError for one that cannot be used."""
        place = f"{place}: dynamic"
        if len(dynamic) > PATTERNS:
            raise CheckpointError(
                f"there are {len(dynamic)} patterns", where=place, expected=f"at most {PATTERNS}"
            )
        entries: list[Override] = []
        unknown: list[str] = []
        for pattern, changes in dynamic.items():
            where = f"{place}: {quoted(pattern)}"
            negative = pattern.startswith("-:")
            # "pattern": {} and "pattern": false are both written for modules left alone
            if changes is not None and changes is not False:
                names = check_fields(changes, GPTQ, where, CheckpointError)
                unknown += [f"dynamic.{name}" for name in names]
            elif changes is False:
                negative = True
            body = pattern[2:] if pattern.startswith(("-:", "+:")) else pattern
            own = None if negative else dict(changes or {})
            entries.append(Override(pattern, _compiled(body, where), own))
        return Overrides(tuple(entries), place, tuple(dict.fromkeys(unknown)))

    def of_module(self, module: str) -> Mapping[str, Any]:
        """What is changed for a module whose weight is stored as integers."""
        found = next((entry for entry in self.entries if entry.compiled.match(module)), None)
        if found is None:
            return {}
        if found.changes is None:
            raise CheckpointError(
                f"{module} is quantised, and the configuration says that it is not",
                where=f"{self.place}: {quoted(found.pattern)}",
                expected="the tensor weight for a module of a negative pattern",
            )
        return found.changes


def _compiled(body: str, where: str) -> Any:
    import re2 as re2_module

    re2 = cast("Any", re2_module)

    options = re2.Options()
    options.log_errors, options.max_mem = False, _MEMORY
    if len(body) > PATTERN_LENGTH:
        raise CheckpointError(
            f"the pattern has {len(body)} characters", where, f"at most {PATTERN_LENGTH}"
        )
    try:
        return re2.compile(body, options=options)
    except re2.error as error:
        reason = error.args[0].decode(errors="replace") if error.args else "not understood"
        raise CheckpointError(
            f"the pattern is not one that RE2 reads: {reason}",
            where=where,
            expected="a regular expression without look-around and back references",
            fix="write it another way, or remove it: the tensors show what is quantised",
        ) from None
