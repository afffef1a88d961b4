"""Copies of inner values, taken between the steps of a program."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from sala_compile.runtime.artifact import Observation, PhaseName, Program, TargetProgram
from sala_compile.runtime.devices.device import Memory
from sala_compile.runtime.errors import RequestError

Observed = dict[str, dict[int | None, Any]]
"""Kind -> layer -> array [tokens, ...], or for `selected_blocks` role -> array."""
_SINGLE = "value"


class Observer:
    """Collects the values of some kinds over all chunks of a call."""

    def __init__(
        self,
        program: Program,
        target: TargetProgram,
        kinds: Sequence[str],
        memory: Memory,
    ) -> None:
        """RequestError for a kind that the target does not offer."""
        offered = _offered(program, target)
        unknown = [kind for kind in kinds if kind not in offered]
        if unknown:
            raise RequestError(
                f"{unknown[0]!r} cannot be observed",
                where="observe",
                expected=f"some of {', '.join(offered) or 'nothing'}",
            )
        self._watched = [(kind, item) for kind in kinds for item in program.observable[kind]]
        self._target = target
        self._memory = memory
        self._pieces: dict[tuple[str, int | None, str], list[np.ndarray]] = {}

    def hooks(self, phase: PhaseName, rows: int) -> dict[int, list[Callable[[], None]]]:
        """Hooks that copy `rows` of the values of this phase, by the step that completes them."""
        hooks: dict[int, list[Callable[[], None]]] = {}
        for kind, item in self._watched:
            if item.phase is phase:
                hooks.setdefault(self._ready(item), []).append(
                    partial(self._copy, kind, item, rows)
                )
        return hooks

    def result(self) -> Observed:
        """Everything observed, the chunks joined; blocks that do not count are -1."""
        joined: dict[tuple[str, int | None], dict[str, np.ndarray]] = {}
        for (kind, layer, role), pieces in self._pieces.items():
            joined.setdefault((kind, layer), {})[role] = np.concatenate(pieces)
        observed: Observed = {kind: {} for kind, _ in self._watched}
        for (kind, layer), roles in joined.items():
            _mask_unused(roles)
            observed[kind][layer] = roles[_SINGLE] if set(roles) == {_SINGLE} else roles
        return observed

    def _ready(self, item: Observation) -> int:
        """The step that completes the values: the last of those that begin their lives."""
        phase = self._target.phases[item.phase]
        starts = [phase.live[name][0] for name in item.values.values() if name in phase.live]
        return max(starts, default=len(phase.steps) - 1)

    def _copy(self, kind: str, item: Observation, rows: int) -> None:
        for role, name in item.values.items():
            place = self._memory.plan.places[name]
            copy = np.empty((rows, *place.shape[1:]), place.value.dtype.numpy)
            self._memory.read(name, copy)
            self._pieces.setdefault((kind, item.layer, role), []).append(copy)


def _offered(program: Program, target: TargetProgram) -> list[str]:
    """The kinds whose values a target computes: those of the first one have no prefix."""
    live = {name for phase in target.phases.values() for name in phase.live}
    return sorted(
        kind
        for kind, items in program.observable.items()
        if all(live.issuperset(item.values.values()) for item in items)
    )


def _mask_unused(roles: dict[str, np.ndarray]) -> None:
    blocks, counts = roles.get("blocks"), roles.get("counts")
    if blocks is not None and counts is not None and blocks.ndim == counts.ndim + 1:
        blocks[np.arange(blocks.shape[-1]) >= counts[..., None]] = -1
