"""Moves between registers, global and shared memory; asynchronous copies land at their wait."""

from dataclasses import dataclass

import numpy as np

from tests.support.ptx.block import Block, Handler, UnsupportedError, items
from tests.support.ptx.numbers import TYPES, UNSIGNED
from tests.support.ptx.program import Address, Constant, Instruction, Register, Vector

Mask = np.ndarray | None
_LANDING = 0xFF
"""What a destination holds while its copy is on the way: NaN in every type."""


@dataclass(frozen=True, slots=True)
class Copy:
    """An asynchronous copy from global to shared memory; `live` are the bytes that it reads."""

    target: np.ndarray
    source: np.ndarray
    live: np.ndarray
    threads: np.ndarray
    size: int


def _move(block: Block, instruction: Instruction, mask: Mask) -> None:
    target, source = instruction.operands
    if instruction.kind == "pred":
        return block.write(target, block.read_predicate(source), mask)
    kind = TYPES[instruction.kind]
    if isinstance(target, Vector):
        size = np.dtype(kind).itemsize // len(target.items)
        parts = block.read(source, kind).copy().view(UNSIGNED[size]).reshape(block.threads, -1)
        for place, item in enumerate(target.items):
            block.write(item, parts[:, place].copy(), mask)
        return None
    if isinstance(source, Vector):
        size = np.dtype(kind).itemsize // len(source.items)
        words = np.stack([block.read(item, UNSIGNED[size]) for item in source.items], 1)
        return block.write(target, words.view(kind).reshape(-1), mask)
    block.write(target, block.read(source, kind), mask)
    # A move is no instruction of the machine: its result is as old as what is moved.
    name = source.name if isinstance(source, Register) else ""
    assert isinstance(target, Register), target
    block.written[target.name] = block.written.get(name, -1)
    return None


def _space(instruction: Instruction) -> str:
    for part in instruction.parts[1:]:
        if part in ("global", "param") or part.startswith("shared"):
            return part.split("_")[0]
    raise UnsupportedError(instruction.text)


def _load(block: Block, instruction: Instruction, mask: Mask) -> None:
    target, source = instruction.operands[:2]
    space, kind = _space(instruction), TYPES[instruction.kind]
    if space == "param":
        assert isinstance(source, Address), source
        value = block.parameters[source.name or ""]
        return block.write(target, np.full(block.threads, value, np.uint64).astype(kind), mask)
    into = items(target)
    element = np.dtype(kind).itemsize
    size, threads = element * len(into), block.selected(mask)
    memory = block.shared if space == "shared" else block.memory
    addresses = block.address(source, shared=space == "shared")
    raw = np.zeros((block.threads, size), np.uint8)
    raw[threads] = memory.read(block.actor, addresses, size, threads)
    words = raw.view(UNSIGNED[element])
    for place, item in enumerate(into):
        block.write(item, words[:, place].copy().view(kind), mask)
    return None


def _store(block: Block, instruction: Instruction, mask: Mask) -> None:
    target, source = instruction.operands[:2]
    space, word = _space(instruction), UNSIGNED[np.dtype(TYPES[instruction.kind]).itemsize]
    stacked = np.stack([block.read(each, word) for each in items(source)], 1)
    raw = np.ascontiguousarray(stacked).view(np.uint8).reshape(block.threads, -1)
    threads = block.selected(mask)
    memory = block.shared if space == "shared" else block.memory
    addresses = block.address(target, shared=space == "shared")
    memory.write(block.actor, addresses, raw[threads], threads)


def _copy(block: Block, instruction: Instruction, mask: Mask) -> None:
    parts = instruction.parts
    if "commit_group" in parts:
        block.copies.append([])
    elif "wait_group" in parts or "wait_all" in parts:
        count = instruction.operands[0] if instruction.operands else Constant(0)
        assert isinstance(count, Constant), count
        if "wait_all" in parts:
            block.copies.append([])
        land_copies(block, count.bits)
    elif "bulk" in parts:
        raise UnsupportedError(instruction.text)
    else:
        _begin_copy(block, instruction, mask)


def _begin_copy(block: Block, instruction: Instruction, mask: Mask) -> None:
    target, source, size_operand, *live_operand = instruction.operands
    assert isinstance(size_operand, Constant), size_operand
    size, threads = size_operand.bits, block.selected(mask)
    live = block.read(live_operand[0], np.uint32) if live_operand else None
    copy = Copy(
        block.address(target, shared=True),
        block.address(source, shared=False),
        np.full(block.threads, size, np.uint32) if live is None else np.minimum(live, size),
        threads,
        size,
    )
    on_the_way = np.full((len(threads), size), _LANDING, np.uint8)
    block.shared.write(block.actor, copy.target, on_the_way, threads)
    block.copies[-1].append(copy)


def land_copies(block: Block, keep: int) -> None:
    """Land all committed groups but the last `keep`; the last list is not committed yet."""
    while len(block.copies) - 1 > keep:
        for copy in block.copies.pop(0):
            assert isinstance(copy, Copy), copy
            _land(block, copy)


def _land(block: Block, copy: Copy) -> None:
    raw = np.zeros((block.threads, copy.size), np.uint8)
    for live in np.unique(copy.live[copy.threads]):
        threads = copy.threads[copy.live[copy.threads] == live]
        if live == copy.size:
            raw[threads] = block.memory.read(block.actor, copy.source, copy.size, threads)
        elif live:  # a part is read, zeros are stored after it
            for place in range(int(live)):
                one = copy.source + np.uint64(place)
                raw[threads, place] = block.memory.read(block.actor, one, 1, threads)[:, 0]
    block.shared.write(block.actor, copy.target, raw[copy.threads], copy.threads)


def _nothing(block: Block, instruction: Instruction, mask: Mask) -> None:
    """Hints, and orders that blocks run one after another cannot miss."""


def _fence(block: Block, instruction: Instruction, mask: Mask) -> None:
    if "proxy" in instruction.parts:
        block.shared.unfenced[:] = False


def _atomic(block: Block, instruction: Instruction, mask: Mask) -> None:
    """An atomic operation, thread by thread in order."""
    parts = instruction.parts
    has_result = instruction.head == "atom"
    target = instruction.operands[0] if has_result else None
    place, *sources = instruction.operands[1 if has_result else 0 :]
    if _space(instruction) != "global":
        raise UnsupportedError(instruction.text)
    kind = TYPES[instruction.kind]
    addresses = block.address(place, shared=False)
    values = [block.read(each, kind) for each in sources]
    before = np.zeros(block.threads, kind)
    operation = next(part for part in parts if part in _UPDATES or part in ("cas", "exch"))
    orders = bool({"acq_rel", "acquire", "release"} & set(parts))
    for thread in block.selected(mask):
        raw = block.memory.value(int(addresses[thread]), before.itemsize)
        old = raw.view(kind)[0]
        given = [value[thread] for value in values]
        before[thread], new = old, _updated(operation, old, given)
        words = np.array([new], kind).view(np.uint8)
        address = int(addresses[thread])
        block.memory.update(block.actor, address, words, int(thread), orders=orders)
    if target is not None:
        block.write(target, before, mask)


_UPDATES = {
    "add": np.add,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "min": np.minimum,
    "max": np.maximum,
}


def _updated(operation: str, old: np.generic, given: list[np.generic]) -> np.generic:
    if operation == "exch":
        return given[0]
    if operation == "cas":
        return given[1] if old == given[0] else old
    if operation == "inc":  # wraps to 0 at its limit
        return type(old)(0) if old >= given[0] else old + type(old)(1)
    return _UPDATES[operation](old, given[0])


HANDLERS: dict[str, Handler] = {
    "mov": _move,
    "ld": _load,
    "st": _store,
    "cp": _copy,
    "fence": _fence,
    "membar": _nothing,
    "prefetch": _nothing,
    "discard": _nothing,
    "griddepcontrol": _nothing,
    "atom": _atomic,
    "red": _atomic,
}
"""Opcode -> how it is executed."""
