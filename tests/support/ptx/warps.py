"""Instructions of whole warps: barriers, shuffles, votes, matrices in shared memory, products.

Layouts of fragments: PTX ISA, "Matrix fragments for mma" and "Asynchronous warpgroup level matrix
instructions". Lane = 4 * row + column pair.
"""

import re
from dataclasses import dataclass

import numpy as np

from tests.support.ptx.block import Block, Handler, UnsupportedError, items
from tests.support.ptx.memory import WARP
from tests.support.ptx.numbers import TYPES, canonical, operand
from tests.support.ptx.program import Constant, Instruction, Operand, Pair, Register, Vector

Mask = np.ndarray | None
GROUP = 4 * WARP
"""Threads of a warpgroup."""
LANE = np.arange(WARP)
ROW, PAIR = LANE // 4, LANE % 4 * 2
"""Of each lane: its row in a tile of 8, and its first of two columns."""


def _barrier(block: Block, instruction: Instruction, mask: Mask) -> None:
    if "warp" in instruction.parts:  # bar.warp.sync orders less than the records tell apart
        return
    block.actor.barrier()


def _shuffle(block: Block, instruction: Instruction, mask: Mask) -> None:
    target, *sources = instruction.operands
    value = block.read(sources[0], np.uint32)
    by, control = (block.read(each, np.uint32).astype(np.int64) for each in sources[1:3])
    lane = block.everybody % WARP
    clamp, segment = control & 31, (control >> 8) & 31
    first, last = lane & segment, (lane & segment) | (clamp & ~segment)
    mode = instruction.parts[2]
    from_ = {"bfly": lane ^ by, "up": lane - by, "down": lane + by, "idx": first | (by & ~segment)}
    source = from_[mode]
    inside = source >= last if mode == "up" else source <= last
    source = np.where(inside, source, lane)
    result = value[block.everybody - lane + source]
    if isinstance(target, Pair):
        block.write(target.value, result, mask)
        block.write(target.predicate, inside, mask)
    else:
        block.write(target, result, mask)


def _reduce(block: Block, instruction: Instruction, mask: Mask) -> None:
    target, source = instruction.operands[:2]
    kind = TYPES[instruction.kind]
    values = block.read(source, kind).reshape(-1, WARP)
    operate = {
        "add": np.add, "min": np.minimum, "max": np.maximum, "and": np.bitwise_and,
        "or": np.bitwise_or, "xor": np.bitwise_xor,
    }[instruction.parts[2]]  # fmt: skip
    reduced = operate.reduce(values, axis=1).astype(kind)
    block.write(target, np.repeat(reduced, WARP), mask)


def _vote(block: Block, instruction: Instruction, mask: Mask) -> None:
    target, source = instruction.operands[:2]
    votes = block.read_predicate(source).copy()
    if mask is not None:
        votes &= mask
    warps = votes.reshape(-1, WARP)
    if instruction.parts[2] == "ballot":
        words = (warps.astype(np.uint64) << LANE.astype(np.uint64)).sum(1).astype(np.uint32)
        return block.write(target, np.repeat(words, WARP), mask)
    result = warps.all(1) if instruction.parts[2] == "all" else warps.any(1)
    return block.write(target, np.repeat(result, WARP), mask)


def _first_of_warp(block: Block, instruction: Instruction, mask: Mask) -> None:
    target = instruction.operands[0]
    assert isinstance(target, Pair), target
    block.write(target.predicate, block.everybody % WARP == 0, mask)


def _threads_of_matrix(block: Block, number: int) -> np.ndarray:
    """The threads whose addresses are the 8 rows of matrix `number` of every warp."""
    return block.everybody.reshape(-1, WARP)[:, 8 * number : 8 * number + 8].reshape(-1)


def _load_matrices(block: Block, instruction: Instruction, mask: Mask) -> None:
    target, place = instruction.operands
    addresses = block.address(place, shared=True)
    for number, item in enumerate(items(target)):
        rows = block.shared.read(block.actor, addresses, 16, _threads_of_matrix(block, number))
        matrix = np.ascontiguousarray(rows).view(np.uint16).reshape(-1, 8, 8)
        if "trans" in instruction.parts:
            matrix = matrix.transpose(0, 2, 1)
        pair = np.stack([matrix[:, ROW, PAIR], matrix[:, ROW, PAIR + 1]], -1)
        block.write(item, np.ascontiguousarray(pair).view(np.uint32).reshape(-1), mask)


def _store_matrices(block: Block, instruction: Instruction, mask: Mask) -> None:
    place, source = instruction.operands
    addresses = block.address(place, shared=True)
    for number, item in enumerate(items(source)):
        pair = block.read(item, np.uint32).copy().view(np.uint16).reshape(-1, WARP, 2)
        matrix = np.zeros((len(pair), 8, 8), np.uint16)
        matrix[:, ROW, PAIR], matrix[:, ROW, PAIR + 1] = pair[..., 0], pair[..., 1]
        if "trans" in instruction.parts:
            matrix = matrix.transpose(0, 2, 1)
        raw = np.ascontiguousarray(matrix).view(np.uint8).reshape(-1, 16)
        threads = _threads_of_matrix(block, number)
        block.shared.write(block.actor, addresses, raw, threads)


def _product(block: Block, instruction: Instruction, mask: Mask) -> None:
    """mma.sync m16n8k16 of 16 bits and m16n8k8 of TF32, summed in float64 and rounded once."""
    d, a, b, c = map(items, instruction.operands)
    shape = next(part for part in instruction.parts if part.startswith("m16n8"))
    kind = instruction.parts[-2]
    if (shape, kind) not in (("m16n8k16", "bf16"), ("m16n8k16", "f16"), ("m16n8k8", "tf32")):
        raise UnsupportedError(instruction.text)
    depth = int(shape.rpartition("k")[2])
    left = np.stack([_left(block, a, kind, depth, warp) for warp in range(block.threads // WARP)])
    right = _right(block, b, kind, depth)
    sums = np.matmul(left, right)
    for place, (item, added) in enumerate(zip(d, c, strict=True)):
        rows, columns = ROW + 8 * (place // 2), PAIR + place % 2
        before = block.read(added, np.float32).reshape(-1, WARP)
        found = canonical((sums[:, rows, columns] + before).astype(np.float32))
        block.write(item, found.reshape(-1), mask)


def _left(block: Block, registers: tuple[Operand, ...], kind: str, depth: int, warp: int):
    """A fragment [16, depth] of one warp, float64."""
    matrix = np.zeros((16, depth))
    for place, register in enumerate(registers):
        raw = block.read(register, np.uint32).reshape(-1, WARP)[warp].copy()
        values, rows = operand(raw, kind), ROW + 8 * (place % 2)
        if kind == "tf32":
            matrix[rows, LANE % 4 + 4 * (place // 2)] = values
        else:
            columns = PAIR + 8 * (place // 2)
            matrix[rows, columns] = values[0::2]
            matrix[rows, columns + 1] = values[1::2]
    return matrix


def _right(block: Block, registers: tuple[Operand, ...], kind: str, depth: int) -> np.ndarray:
    """Fragments [warps, depth, 8], float64."""
    matrix = np.zeros((block.threads // WARP, depth, 8))
    for place, register in enumerate(registers):
        values = operand(block.read(register, np.uint32).copy(), kind)
        if kind == "tf32":
            matrix[:, LANE % 4 + 4 * place, ROW] = values.reshape(-1, WARP)
        else:
            halves, rows = values.reshape(-1, WARP, 2), PAIR + 8 * place
            matrix[:, rows, ROW], matrix[:, rows + 1, ROW] = halves[..., 0], halves[..., 1]
    return matrix


@dataclass(frozen=True, slots=True)
class Tile:
    """A matrix in shared memory as a descriptor of wgmma gives it: rows of `depth` elements.

    Offsets are in bytes; `span` is the length of a swizzled line, 16 without swizzling.
    """

    start: int
    leading: int
    stride: int
    swizzle: int
    depth: int
    size: int

    @staticmethod
    def of(descriptor: int, depth: int, size: int) -> "Tile":
        """Take a descriptor apart."""
        start, leading, stride = ((descriptor >> at & 0x3FFF) << 4 for at in (0, 16, 32))
        return Tile(start, leading, stride, descriptor >> 62 & 3, depth, size)

    def index(self, rows: int, *, transposed: bool) -> np.ndarray:
        """Places of bytes [rows, depth, size]."""
        span = {1: 128, 2: 64, 3: 32, 0: 16}[self.swizzle]
        row, column = np.arange(rows)[:, None], np.arange(self.depth)[None, :]
        if transposed:
            line = span // self.size
            place = (row // line) * self.leading + (row % line) * self.size
            place = place + (column // 8) * self.stride + (column % 8) * span
        else:
            place = (row // 8) * self.stride + (row % 8) * span + column * self.size
        place = place + self.start
        if self.swizzle:
            place = place ^ ((place >> 7 & {1: 7, 2: 3, 3: 1}[self.swizzle]) << 4)
        return place[:, :, None] + np.arange(self.size)


@dataclass(frozen=True, slots=True)
class Product:
    """A wgmma that nobody waited for: what it reads of shared memory, what it will write."""

    places: list[np.ndarray]
    registers: tuple[str, ...]


def _warpgroup(block: Block, instruction: Instruction, mask: Mask) -> None:
    parts = instruction.parts
    if "mma_async" in parts:
        _warpgroup_product(block, instruction)
    elif "fence" in parts:
        block.fenced = block.actor.clock.time
    elif "commit_group" in parts:
        block.products.append([])
    elif "wait_group" in parts:
        count = instruction.operands[-1]
        assert isinstance(count, Constant), count
        del block.products[: max(0, len(block.products) - 1 - count.bits)]
        _refresh(block)


def _refresh(block: Block) -> None:
    """What is on the way, from the products that are left."""
    block.undelivered.clear()
    block.shared.in_flight[:] = False
    for product in (each for group in block.products for each in group):
        assert isinstance(product, Product), product
        block.undelivered.update(dict.fromkeys(product.registers))
        for places in product.places:
            block.shared.in_flight[places] = True


@dataclass(frozen=True, slots=True)
class Form:
    """Which product a wgmma is: m64nCOLUMNSkDEPTH of elements `kind`, and what is transposed."""

    columns: int
    depth: int
    kind: str
    a_transposed: bool
    b_transposed: bool

    @staticmethod
    def of(instruction: Instruction) -> "Form":
        """Read the opcode and the immediates: two signs, then transpositions of 16-bit operands.

        A is transposed only where it is in shared memory.
        """
        shape = re.search(r"m64n(\d+)k(\d+)", instruction.opcode)
        assert shape is not None, instruction.text
        immediates = instruction.operands[4:]
        turned = [each.bits for each in immediates[2:] if isinstance(each, Constant)]
        turned = [0] * (2 - len(turned)) + turned
        a, b = map(bool, turned)
        return Form(int(shape[1]), int(shape[2]), instruction.kind, a, b)

    @property
    def size(self) -> int:
        """Bytes of an element."""
        return 4 if self.kind == "tf32" else 2


def _warpgroup_product(block: Block, instruction: Instruction) -> None:
    """D [64, columns] += A from registers or shared memory * B from shared memory."""
    form = Form.of(instruction)
    d, a, b, keeps = instruction.operands[:4]
    registers, left_registers = items(d), items(a) if isinstance(a, Vector) else ()
    names = tuple(each.name for each in registers if isinstance(each, Register))
    _check_registers(block, names, left_registers)
    # Sums that follow sums need no wait between.
    block.undelivered = {name: None for name in block.undelivered if name not in names}
    kept = block.read_predicate(keeps)[0]
    sums = [
        block.read(each, np.float32).copy() if kept else np.zeros(block.threads, np.float32)
        for each in registers
    ]
    places: list[np.ndarray] = []
    for group in range(block.threads // GROUP):
        right = _tile(block, form, b, group, places)
        if left_registers:
            warps = range(4 * group, 4 * group + 4)
            parts = [_left(block, left_registers, form.kind, form.depth, warp) for warp in warps]
            left = np.concatenate(parts)
        else:
            left = _tile(block, form, a, group, places, is_left=True)
        _add(sums, left @ right.T, group)
    for register, result in zip(registers, sums, strict=True):
        block.write(register, result, None)
    for name in names:  # nor a fence
        block.written[name] = -1
    block.products[-1].append(Product(places, names))
    _refresh(block)


def _tile(
    block: Block,
    form: Form,
    register: Operand,
    group: int,
    places: list[np.ndarray],
    *,
    is_left: bool = False,
) -> np.ndarray:
    """A [64, depth] or B [columns, depth] in shared memory, float64; notes where it lies."""
    rows = 64 if is_left else form.columns
    descriptor = int(block.read(register, np.uint64)[GROUP * group])
    turned = form.a_transposed if is_left else form.b_transposed
    index = Tile.of(descriptor, form.depth, form.size).index(rows, transposed=turned)
    places.append(index)
    raw = np.ascontiguousarray(block.shared.read_matrix(block.actor, index, group))
    return operand(raw.reshape(-1), form.kind).reshape(rows, form.depth).astype(np.float64)


def _add(sums: list[np.ndarray], product: np.ndarray, group: int) -> None:
    """Add [64, columns] to the registers of a warpgroup, rounding once."""
    for warp in range(4):
        begin = GROUP * group + WARP * warp
        for place, total in enumerate(sums):
            rows = 16 * warp + ROW + 8 * (place // 2 % 2)
            found = product[rows, PAIR + place % 2 + 8 * (place // 4)]
            added = (found + total[begin : begin + WARP]).astype(np.float32)
            total[begin : begin + WARP] = canonical(added)


def _check_registers(block: Block, sums: tuple[str, ...], left: tuple[Operand, ...]) -> None:
    """Note registers of a matrix instruction that were written after the last wgmma.fence."""
    names = (*sums, *(each.name for each in left if isinstance(each, Register)))
    if any(block.written.get(name, -1) > block.fenced for name in names):
        block.report.note("wgmma uses registers that were written after the last wgmma.fence")


HANDLERS: dict[str, Handler] = {
    "bar": _barrier,
    "barrier": _barrier,
    "shfl": _shuffle,
    "redux": _reduce,
    "vote": _vote,
    "elect": _first_of_warp,
    "ldmatrix": _load_matrices,
    "stmatrix": _store_matrices,
    "mma": _product,
    "wgmma": _warpgroup,
}
"""Opcode -> how it is executed."""
