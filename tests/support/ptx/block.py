"""One block in lockstep: every instruction runs for all its threads at once.

Threads that take different ways are kept apart by their program counters; those with the smallest
go on. An instruction for whole warps that only a part of them reaches is a fault.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from tests.support.ptx.memory import Actor, GlobalMemory, Report, SharedMemory
from tests.support.ptx.numbers import SIGNED, UNSIGNED
from tests.support.ptx.program import (
    Address,
    Constant,
    Instruction,
    Label,
    Operand,
    Program,
    Register,
    Vector,
)

Handler = Callable[["Block", Instruction, np.ndarray | None], None]
"""Executes an instruction for the threads of a mask, None for all."""

_OF_MATRICES = ("ldmatrix", "stmatrix", "mma", "wgmma")
CONVERGENT = frozenset((*_OF_MATRICES, "bar", "barrier", "shfl", "redux", "vote", "match", "elect"))
"""Instructions that all threads of a warp execute together."""

_WIDTHS = {"%rd": 8, "%fd": 8, "%rs": 2}
"""Bytes of registers by the beginning of their names; the others have 4."""


class UnsupportedError(Exception):
    """An instruction that the emulator does not know."""


@dataclass(slots=True)
class Block:
    """The threads of one block, their registers, its shared memory.

    `parameters` are the values of the entry's parameters by name, `special` those of %ctaid.x and
    the like. `copies` and `products` are what was begun and not waited for, `undelivered` the
    registers of the products. `written` has the time of each register's last write, `fenced` that
    of the last wgmma.fence, which orders registers before matrix instructions that use them; -1 is
    what every fence orders.
    """

    threads: int
    parameters: Mapping[str, int]
    special: Mapping[str, np.ndarray | int]
    memory: GlobalMemory
    shared: SharedMemory
    actor: Actor
    report: Report
    registers: dict[str, np.ndarray] = field(default_factory=dict)
    copies: list[list["object"]] = field(default_factory=lambda: [[]])
    products: list[list["object"]] = field(default_factory=lambda: [[]])
    undelivered: dict[str, None] = field(default_factory=dict)
    written: dict[str, int] = field(default_factory=dict)
    fenced: int = -2
    everybody: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        """Number the threads."""
        self.everybody = np.arange(self.threads)

    def selected(self, mask: np.ndarray | None) -> np.ndarray:
        """The numbers of the threads of a mask."""
        return self.everybody if mask is None else np.flatnonzero(mask)

    def read(self, operand: Operand, kind: type) -> np.ndarray:
        """The value [threads] of an operand as `kind`: its low bits, or zeros before them."""
        size = np.dtype(kind).itemsize
        if isinstance(operand, Constant):
            bits = operand.bits & ((1 << 8 * size) - 1)
            return np.full(self.threads, bits, UNSIGNED[size]).view(kind)
        assert isinstance(operand, Register), operand
        value = self._register(operand.name)
        if value.dtype.itemsize != size:
            value = value.astype(UNSIGNED[size])
        return value.view(kind)

    def read_predicate(self, operand: Operand) -> np.ndarray:
        """A predicate [threads]."""
        if isinstance(operand, Constant):
            return np.full(self.threads, operand.bits != 0)
        assert isinstance(operand, Register), operand
        value = self._register(operand.name)
        return ~value if operand.negated else value

    def write(self, target: Operand, value: np.ndarray, mask: np.ndarray | None) -> None:
        """Set a register for the threads of a mask; a signed value is extended by its sign."""
        assert isinstance(target, Register), target
        name = target.name
        if name == "_":
            return
        if not name.startswith("%p"):
            value = _word(value, _WIDTHS.get(name[:3], 4))
        if mask is not None:
            before = self.registers.get(name)
            value = np.where(mask, value, 0 if before is None else before).astype(value.dtype)
        self.undelivered.pop(name, None)
        self.written[name] = self.actor.clock.time
        self.registers[name] = value

    def address(self, operand: Operand, *, shared: bool) -> np.ndarray:
        """The sum of an address's terms [threads]: 32 bits for shared memory, else 64."""
        assert isinstance(operand, Address), operand
        kind = np.uint32 if shared else np.uint64
        first, *rest = (self.read(term, kind) for term in operand.terms)
        return sum(rest, first)

    def _register(self, name: str) -> np.ndarray:
        if name in self.undelivered:
            self.report.note(f"{name} is read before wgmma has been waited for")
        value = self.registers.get(name)
        if value is None:
            self.registers[name] = value = self._unwritten(name)
        return value

    def _unwritten(self, name: str) -> np.ndarray:
        """A special register, or what nobody wrote: NaN, large as an integer, no predicate."""
        if name in self.special:
            value = np.asarray(self.special[name], np.uint32)
            return np.broadcast_to(value, (self.threads,)).copy()
        if name.startswith("%p"):
            return np.zeros(self.threads, bool)
        size = _WIDTHS.get(name[:3], 4)
        return np.full(self.threads * size, 0x7F, np.uint8).view(UNSIGNED[size])


def items(operand: Operand) -> tuple[Operand, ...]:
    """The operands of a vector, or the one that stands for itself."""
    return operand.items if isinstance(operand, Vector) else (operand,)


def _word(value: np.ndarray, size: int) -> np.ndarray:
    """A value as unsigned words of a register's size."""
    if value.dtype.itemsize != size:
        value = value.astype(SIGNED[size] if value.dtype.kind == "i" else UNSIGNED[size])
    return np.ascontiguousarray(value).view(UNSIGNED[size])


class Lockstep:
    """Where the threads of a block are: together, or each at its own place."""

    def __init__(self, block: Block, program: Program, handlers: Mapping[str, Handler]) -> None:
        """All threads begin together at the first instruction."""
        self._block, self._program, self._handlers = block, program, handlers
        self._place = 0
        self._places: np.ndarray | None = None
        self._live = np.ones(block.threads, bool)

    def run(self) -> None:
        """Execute until every thread has returned."""
        instructions = self._program.instructions
        while self._live.any():
            active = self._active()
            if self._place >= len(instructions):
                return
            instruction = instructions[self._place]
            self._block.report.text = instruction.text
            self._block.actor.clock.time += 1
            self._execute(instruction, active)

    def _active(self) -> np.ndarray | None:
        """The threads that are at the smallest place, None for all."""
        if self._places is None:
            return None
        places = self._places[self._live]
        self._place = int(places.min())
        if self._live.all() and (places == self._place).all():
            self._places = None
            return None
        return self._live & (self._places == self._place)

    def _execute(self, instruction: Instruction, active: np.ndarray | None) -> None:
        mask = self._mask(instruction, active)
        head = instruction.head
        if head == "bra":
            label = instruction.operands[0]
            assert isinstance(label, Label), label
            self._go(mask, active, self._program.labels[label.name])
        elif head in ("ret", "exit"):
            self._end(mask, active)
        else:
            # A predicate that holds for nobody does nothing, as a masked load of padding.
            if mask is None or mask.any():
                self._do(instruction, active, mask)
            self._advance(active)

    def _do(
        self, instruction: Instruction, active: np.ndarray | None, mask: np.ndarray | None
    ) -> None:
        head = instruction.head
        if head in CONVERGENT and active is not None and self._splits_warps(active):
            self._block.report.note("an instruction for whole warps is reached by a part of one")
        try:
            handler = self._handlers[head]
        except KeyError:
            raise UnsupportedError(instruction.text) from None
        handler(self._block, instruction, mask)

    def _splits_warps(self, active: np.ndarray) -> bool:
        """Whether a live warp is only partly active."""
        active = active.reshape(-1, 32)
        live = self._live.reshape(-1, 32)
        return bool((active.any(1) & (active != live).any(1)).any())

    def _mask(self, instruction: Instruction, active: np.ndarray | None) -> np.ndarray | None:
        if instruction.guard is None:
            return active
        holds = self._block.read_predicate(instruction.guard)
        if active is not None:
            return holds & active
        return None if holds.all() else holds

    def _advance(self, active: np.ndarray | None) -> None:
        if self._places is None:
            self._place += 1
        else:
            self._places[slice(None) if active is None else active] = self._place + 1

    def _go(self, mask: np.ndarray | None, active: np.ndarray | None, place: int) -> None:
        if mask is None:
            self._place = place
        elif active is None and not mask.any():
            self._place += 1
        else:
            places = self._spread()
            places[slice(None) if active is None else active] = self._place + 1
            places[mask] = place

    def _end(self, mask: np.ndarray | None, active: np.ndarray | None) -> None:
        if mask is None:
            self._live[:] = False
            return
        places = self._spread()
        self._live &= ~mask
        places[slice(None) if active is None else active] = self._place + 1

    def _spread(self) -> np.ndarray:
        if self._places is None:
            self._places = np.full(self._block.threads, self._place)
        return self._places
