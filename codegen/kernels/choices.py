"""Steps that a search for schedules may take from a schedule."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Axis:
    """Alternatives for some fields of a schedule, tried one after the other from the best so far.

    `exact` promises that the results stay the same to the bit.
    """

    name: str
    options: tuple[Mapping[str, Any], ...]
    exact: bool = True

    def neighbours(self, schedule: Any) -> Iterator[Any]:
        """The schedules that differ from `schedule` along this axis."""
        for option in self.options:
            changed = replace(schedule, **option)
            if changed != schedule:
                yield changed


def single(name: str, *values: Any, exact: bool = True) -> Axis:
    """The axis of one field."""
    return Axis(name, tuple({name: value} for value in values), exact)
