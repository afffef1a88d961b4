"""What differs between devices: their memory, and how they run a program."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from sala_compile.runtime.artifact import PhaseName, Symbol, ValueKind, pool_symbol
from sala_compile.runtime.plan import LAST_LOGITS, MemoryPlan

POISON = 0xFF
"""A byte that makes NaN of every float and -1 of every integer."""

Advance = Callable[[int, int], None]
"""Receives, while weights come to a device, the bytes that are there and the total."""
Hook = Callable[[], None]
Hooks = Mapping[int, Sequence[Hook]]
"""What is called after a step, by the number of the step."""


@dataclass(frozen=True, slots=True)
class StepSizes:
    """The live sizes of a step."""

    tokens: int
    sequences: int
    logit_rows: int


class Memory(Protocol):
    """The buffers of a plan on a device, by value name; nothing is allocated after it is made.

    The host writes inputs and token ids into its own arrays, and moves whole rows of everything
    else. Calls take effect in their order, runs of the program included.
    """

    plan: MemoryPlan
    poison: bool

    @property
    def counters(self) -> dict[str, int]:
        """Bytes really held for each part."""
        ...

    @property
    def extras(self) -> dict[str, int]:
        """Bytes held besides the plan, by purpose."""
        ...

    def host(self, name: str) -> np.ndarray:
        """The host's array of an input, or of the token ids."""
        ...

    def send_inputs(self) -> None:
        """Make what the host wrote the inputs of the next run."""
        ...

    def read(self, name: str, out: np.ndarray) -> None:
        """Copy the leading rows and columns of a value to `out`, which has its rank."""
        ...

    def read_later(self, name: str, count: int) -> Callable[[], np.ndarray]:
        """Request the leading rows of a small value as they are now.

        The function that is returned waits for them.
        """
        ...

    def read_rows(self, name: str, rows: Sequence[int]) -> np.ndarray:
        """A copy of some rows of a value."""
        ...

    def write_rows(self, name: str, rows: Sequence[int], values: np.ndarray) -> None:
        """Overwrite whole rows of a value."""
        ...

    def keep_row(self, source: str, row: int, target: str, place: int) -> None:
        """Copy a row of one value to row `place` of another, equally long."""
        ...

    def copy_row(self, symbol: str, source: int, target: int) -> None:
        """Copy one page or slot in every pool that `symbol` indexes."""
        ...

    def poison_row(self, symbol: str, row: int) -> None:
        """Make one page or slot NaN in every pool that `symbol` indexes."""
        ...

    def poison_arena(self) -> None:
        """Make every activation and workspace NaN, so that a stale read shows."""
        ...

    def close(self) -> None:
        """Release the memory."""
        ...


class BoundProgram(Protocol):
    """The phases of a target with every kernel bound to its buffers."""

    @property
    def phases(self) -> frozenset[PhaseName]:
        """The phases that there are."""
        ...

    def run(self, phase: PhaseName, sizes: StepSizes, hooks: Hooks | None = None) -> None:
        """Run a phase over the inputs that were sent, and after step i the hooks of i."""
        ...

    def close(self) -> None:
        """Release what was prepared."""
        ...


class Device(Protocol):
    """A device with an artifact's kernels for one target.

    `describe` names the device for people; `workers` share the items of a kernel.
    """

    target: str
    workers: int

    @property
    def describe(self) -> str:
        """The device in a few words."""
        ...

    def available(self) -> int:
        """Bytes that a model may take here now, its weights included."""
        ...

    def notes(self, plan: MemoryPlan) -> tuple[str, ...]:
        """Sentences on what a plan costs here, before its memory is taken."""
        ...

    def open(self) -> None:
        """Load the kernels; ArtifactError if they do not fit the device."""
        ...

    def memory(self, plan: MemoryPlan, *, poison: bool, advance: Advance | None) -> Memory:
        """Take the memory of a plan and bring the weights; MemoryBudgetError if refused."""
        ...

    def bind(self, memory: Any) -> BoundProgram:
        """The program over the buffers of a memory of this device."""
        ...

    def close(self) -> None:
        """Release what `open` took."""
        ...


def rows_by_symbol(plan: MemoryPlan) -> dict[str, list[str]]:
    """The values that consist of pages or slots, by what numbers their rows."""
    names: dict[str, list[str]] = {Symbol.SLOTS: [LAST_LOGITS]}
    for name, place in plan.places.items():
        if place.value.kind is ValueKind.POOL:
            names.setdefault(pool_symbol(place.value), []).append(name)
    return names
