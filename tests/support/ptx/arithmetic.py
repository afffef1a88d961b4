"""Arithmetic, logic, comparisons and conversions of PTX, each for all threads of a block."""

from collections.abc import Callable
from functools import reduce

import numpy as np

from tests.support.ptx.block import Block, Handler, UnsupportedError
from tests.support.ptx.numbers import TYPES, UNSIGNED, canonical, narrowed, operand, widened
from tests.support.ptx.program import Instruction, Register

Mask = np.ndarray | None
_BINARY: dict[str, Callable[..., np.ndarray]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "min": np.minimum,
    "max": np.maximum,
    "copysign": lambda sign, value: np.copysign(value, sign),  # the sign comes first
}
_COMPARE: dict[str, Callable[..., np.ndarray]] = {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater,
    "ge": np.greater_equal, "lo": np.less, "ls": np.less_equal, "hi": np.greater,
    "hs": np.greater_equal,
}  # fmt: skip
_ROUND: dict[str, Callable[..., np.ndarray]] = {
    "rzi": np.trunc,
    "rni": np.rint,
    "rmi": np.floor,
    "rpi": np.ceil,
}
_WIDE = {"s16": np.int32, "u16": np.uint32, "s32": np.int64, "u32": np.uint64}
_PAIRS = "f32x2"


def _is_packed(instruction: Instruction) -> bool:
    return instruction.kind in (_PAIRS, "bf16x2", "bf16")


def _is_mixed(instruction: Instruction) -> bool:
    """Whether it adds to float32 what is bfloat16 or float16: fma.rn.f32.bf16 and the like."""
    return instruction.parts[-2] == "f32" and instruction.kind in ("bf16", "f16")


def _mixed(block: Block, instruction: Instruction) -> np.ndarray:
    """The last source is float32, those before it have the last part's type; one rounding."""
    *narrow, last = instruction.operands[1:]
    values = [
        operand(block.read(each, np.uint16), instruction.kind).astype(np.float64) for each in narrow
    ]
    added = block.read(last, np.float32).astype(np.float64)
    total = values[0] * values[1] if instruction.head == "fma" else values[0]
    result = total - added if instruction.head == "sub" else total + added
    return canonical(result.astype(np.float32))


def _unpacked(block: Block, instruction: Instruction) -> list[np.ndarray]:
    """Operands of pairs of floats, or of bfloat16, as float32 [threads, 1 or 2]."""
    if instruction.kind == _PAIRS:
        words = [block.read(each, np.uint64) for each in instruction.operands[1:]]
        return [word.view(np.float32).reshape(-1, 2) for word in words]
    word = np.uint16 if instruction.kind == "bf16" else np.uint32
    words = [block.read(each, word) for each in instruction.operands[1:]]
    return [widened(each.view(np.uint16)).reshape(block.threads, -1) for each in words]


def _packed(instruction: Instruction, values: np.ndarray) -> np.ndarray:
    if instruction.kind == _PAIRS:
        floats = canonical(np.ascontiguousarray(values, np.float32))
        return np.ascontiguousarray(floats).view(np.uint64).reshape(-1)
    words = np.ascontiguousarray(narrowed(values))
    return words.view(UNSIGNED[2 * words.shape[1]]).reshape(-1)


def _binary(block: Block, instruction: Instruction, mask: Mask) -> None:
    """Two sources; from sm_100 on min and max take three."""
    target, *sources = instruction.operands
    head, kind = instruction.head, instruction.kind
    if len(sources) != 2 and head not in ("min", "max"):
        raise UnsupportedError(instruction.text)
    operate = _BINARY[head]
    if kind == "pred":
        result = reduce(operate, map(block.read_predicate, sources))
    elif _is_mixed(instruction):
        result = _mixed(block, instruction)
    elif _is_packed(instruction):
        result = _packed(instruction, reduce(operate, _unpacked(block, instruction)))
    else:
        if head in ("min", "max") and kind[0] == "f" and "NaN" not in instruction.parts:
            operate = np.fmin if head == "min" else np.fmax
        result = reduce(operate, (block.read(each, TYPES[kind]) for each in sources))
    block.write(target, canonical(result), mask)


def _multiply(block: Block, instruction: Instruction, mask: Mask) -> None:
    part = instruction.parts[1]
    if part not in ("wide", "hi"):
        return _binary(block, instruction, mask)
    target, left, right = instruction.operands
    kind = TYPES[instruction.kind]
    x, y = block.read(left, kind), block.read(right, kind)
    if part == "wide":
        wide = _WIDE[instruction.kind]
        return block.write(target, x.astype(wide) * y.astype(wide), mask)
    bits = 8 * x.dtype.itemsize
    # Python's integers are exact where 64 by 64 bits pass every type of NumPy.
    high = [(int(a) * int(b)) >> bits for a, b in zip(x, y, strict=True)]
    words = np.array([each & ((1 << bits) - 1) for each in high], UNSIGNED[x.dtype.itemsize])
    return block.write(target, words, mask)


def _multiply_add(block: Block, instruction: Instruction, mask: Mask) -> None:
    target, left, right, third = instruction.operands
    kind = TYPES[instruction.kind]
    x, y = block.read(left, kind), block.read(right, kind)
    if instruction.parts[1] == "wide":
        kind = _WIDE[instruction.kind]
        x, y = x.astype(kind), y.astype(kind)
    block.write(target, x * y + block.read(third, kind), mask)


def _fused(block: Block, instruction: Instruction, mask: Mask) -> None:
    """One rounding: the product of two float32 is exact in float64."""
    if _is_mixed(instruction):
        return block.write(instruction.operands[0], _mixed(block, instruction), mask)
    if _is_packed(instruction):
        x, y, z = (each.astype(np.float64) for each in _unpacked(block, instruction))
        result = _packed(instruction, (x * y + z).astype(np.float32))
        return block.write(instruction.operands[0], result, mask)
    kind = TYPES[instruction.kind]
    wide = np.float64 if instruction.kind == "f32" else np.longdouble
    x, y, z = (block.read(each, kind).astype(wide) for each in instruction.operands[1:])
    return block.write(instruction.operands[0], canonical((x * y + z).astype(kind)), mask)


def _unary(operate: Callable[[np.ndarray], np.ndarray]) -> Handler:
    def handle(block: Block, instruction: Instruction, mask: Mask) -> None:
        target, source = instruction.operands
        if _is_packed(instruction):
            result = _packed(instruction, operate(*_unpacked(block, instruction)))
        else:
            result = operate(block.read(source, TYPES[instruction.kind]))
        block.write(target, result, mask)

    return handle


def _not(block: Block, instruction: Instruction, mask: Mask) -> None:
    target, source = instruction.operands
    if instruction.kind == "pred":
        return block.write(target, ~block.read_predicate(source), mask)
    return block.write(target, ~block.read(source, TYPES[instruction.kind]), mask)


def _shift(block: Block, instruction: Instruction, mask: Mask) -> None:
    """Shifts by the width or more give zeros, to the right of signed numbers the sign."""
    target, source, by = instruction.operands
    value, count = block.read(source, TYPES[instruction.kind]), block.read(by, np.uint32)
    bits = 8 * value.dtype.itemsize
    beyond, count = count >= bits, np.minimum(count, bits - 1).astype(value.dtype)
    if instruction.head == "shl":
        result = np.where(beyond, np.zeros_like(value), value << count)
    else:
        rest = value >> (bits - 1) if value.dtype.kind == "i" else np.zeros_like(value)
        result = np.where(beyond, rest, value >> count)
    block.write(target, result.astype(value.dtype), mask)


def _funnel(block: Block, instruction: Instruction, mask: Mask) -> None:
    """Shift two words as one; the high word of a shift to the left, else the low one."""
    target, *sources = instruction.operands
    low, high, by = (block.read(each, np.uint32).astype(np.uint64) for each in sources)
    by = by & np.uint64(31) if instruction.parts[2] == "wrap" else np.minimum(by, 32)
    both = (high << np.uint64(32)) | low
    shifted = (both << by) >> np.uint64(32) if instruction.parts[1] == "l" else both >> by
    block.write(target, (shifted & np.uint64(0xFFFFFFFF)).astype(np.uint32), mask)


def _extract(block: Block, instruction: Instruction, mask: Mask) -> None:
    """A field of bits, extended by its own highest bit where it is signed."""
    target, source, start, length = instruction.operands
    begin = (block.read(start, np.uint32) & 255).astype(np.int64)
    count = (block.read(length, np.uint32) & 255).astype(np.int64)
    kind = np.int32 if instruction.kind == "s32" else np.uint32
    size = np.int64(1) << np.minimum(count, 62)
    field = (block.read(source, kind).astype(np.int64) >> np.minimum(begin, 62)) & (size - 1)
    if kind is np.int32:
        field = np.where((count > 0) & (field >= size >> 1), field - size, field)
    block.write(target, field.astype(kind), mask)


def _insert(block: Block, instruction: Instruction, mask: Mask) -> None:
    """Bits of one word in the place of a field of another."""
    target, inserted, base, start, length = instruction.operands
    begin = (block.read(start, np.uint32) & 255).astype(np.uint64)
    count = (block.read(length, np.uint32) & 255).astype(np.uint64)
    ones = ((np.uint64(1) << np.minimum(count, 32)) - np.uint64(1)) << np.minimum(begin, 32)
    new = block.read(inserted, np.uint32).astype(np.uint64) << np.minimum(begin, 32)
    old = block.read(base, np.uint32).astype(np.uint64)
    word = ((old & ~ones) | (new & ones)) & np.uint64(0xFFFFFFFF)
    block.write(target, word.astype(np.uint32), mask)


def _count_bits(block: Block, instruction: Instruction, mask: Mask) -> None:
    target, source = instruction.operands
    words = block.read(source, TYPES[instruction.kind])
    counts = [int(word).bit_count() for word in words]
    block.write(target, np.array(counts, np.uint32), mask)


def _leading_zeros(block: Block, instruction: Instruction, mask: Mask) -> None:
    target, source = instruction.operands
    words = block.read(source, TYPES[instruction.kind])
    bits = 8 * words.dtype.itemsize
    counts = [bits - int(word).bit_length() for word in words]
    block.write(target, np.array(counts, np.uint32), mask)


def _reverse_bits(block: Block, instruction: Instruction, mask: Mask) -> None:
    target, source = instruction.operands
    words = block.read(source, TYPES[instruction.kind])
    bits = 8 * words.dtype.itemsize
    backwards = [int(f"{int(word):0{bits}b}"[::-1], 2) for word in words]
    block.write(target, np.array(backwards, words.dtype), mask)


def _permute(block: Block, instruction: Instruction, mask: Mask) -> None:
    """Bytes of two words in any order; 8 in a selector asks for the sign of a byte."""
    target, *sources = instruction.operands
    low, high, control = (block.read(each, np.uint32) for each in sources)
    both = np.stack([low, high], 1).view(np.uint8)
    chosen = np.stack([(control >> (4 * place)) & 15 for place in range(4)], 1)
    found = np.take_along_axis(both, (chosen & 7).astype(np.intp), 1)
    signs = np.where(found & 0x80, 255, 0).astype(np.uint8)
    found = np.where(chosen & 8, signs, found)
    block.write(target, np.ascontiguousarray(found).view(np.uint32).reshape(-1), mask)


def _logic3(block: Block, instruction: Instruction, mask: Mask) -> None:
    """Any function of three bits, by its table."""
    target, *sources, table = instruction.operands
    words = [block.read(each, np.uint32) for each in sources]
    lut = int(block.read(table, np.uint32)[0])
    result = np.zeros(block.threads, np.uint32)
    for case in range(8):
        if lut >> case & 1:
            term = np.full(block.threads, 0xFFFFFFFF, np.uint32)
            for place, word in enumerate(words):
                term &= word if case >> (2 - place) & 1 else ~word
            result |= term
    block.write(target, result, mask)


def _divide(block: Block, instruction: Instruction, mask: Mask) -> None:
    target, left, right = instruction.operands
    kind = TYPES[instruction.kind]
    x, y = block.read(left, kind), block.read(right, kind)
    if instruction.kind[0] == "f":
        return block.write(target, canonical(_quotient(instruction, x, y)), mask)
    x, y = x.astype(np.int64), np.where(y == 0, 1, y).astype(np.int64)
    quotient = np.sign(x) * np.sign(y) * (np.abs(x) // np.abs(y))
    result = quotient if instruction.head == "div" else x - quotient * y
    return block.write(target, result.astype(kind), mask)


def _quotient(instruction: Instruction, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """x / y; div.full gives 0 for divisors above 2^126, whose reciprocals are denormal."""
    result = (x / y).astype(x.dtype)
    if "full" not in instruction.parts:
        return result
    large = (np.abs(y) > 2.0**126) & np.isfinite(y)
    flushed = np.where(np.isinf(x), np.float32(np.nan), np.float32(0))
    return np.where(large, flushed, result).astype(x.dtype)


def _set_predicate(block: Block, instruction: Instruction, mask: Mask) -> None:
    target, left, right, *rest = instruction.operands
    compare, kind = instruction.parts[1], TYPES[instruction.kind]
    x, y = block.read(left, kind), block.read(right, kind)
    result = _compared(compare, x, y)
    if rest:
        combine = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}
        result = combine[instruction.parts[2]](result, block.read_predicate(rest[0]))
    assert isinstance(target, Register), target
    block.write(target, result, mask)


def _compared(compare: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if x.dtype.kind != "f":
        return _COMPARE[compare](x, y)
    unordered = np.isnan(x) | np.isnan(y)
    if compare in ("nan", "num"):
        return unordered if compare == "nan" else ~unordered
    if compare.endswith("u"):
        return _COMPARE[compare[:-1]](x, y) | unordered
    return _COMPARE[compare](x, y) & ~unordered


def _select(block: Block, instruction: Instruction, mask: Mask) -> None:
    target, left, right, chooser = instruction.operands
    kind = TYPES[instruction.kind]
    chosen = np.where(
        block.read_predicate(chooser), block.read(left, kind), block.read(right, kind)
    )
    block.write(target, chosen, mask)


def _convert(block: Block, instruction: Instruction, mask: Mask) -> None:
    target, *sources = instruction.operands
    *options, into, kind = (part for part in instruction.parts[1:] if part not in ("ftz", "sat"))
    if into == "bf16x2":
        # The first source is the high half.
        high, low = (narrowed(block.read(each, np.float32)) for each in sources)
        return block.write(target, (high.astype(np.uint32) << 16) | low, mask)
    if into == "bf16":
        if kind != "f32":
            raise UnsupportedError(instruction.text)
        return block.write(target, narrowed(block.read(sources[0], np.float32)), mask)
    if kind == "bf16":
        return block.write(target, widened(block.read(sources[0], np.uint16)), mask)
    if into == "tf32":
        if options != ["rna"] or kind != "f32":
            raise UnsupportedError(instruction.text)
        return block.write(target, _nearest_tf32(block.read(sources[0], np.uint32)), mask)
    value = block.read(sources[0], TYPES[kind])
    return block.write(target, _converted(value, np.dtype(TYPES[into]), options), mask)


def _nearest_tf32(words: np.ndarray) -> np.ndarray:
    """The bits of float32 values rounded to 11 bits, ties away from 0; what is not finite stays."""
    finite = (words & np.uint32(0x7F800000)) != 0x7F800000
    rounded = (words + np.uint32(0x1000)) & np.uint32(0xFFFFE000)
    return np.where(finite, rounded, words)


def _converted(value: np.ndarray, into: np.dtype, options: list[str]) -> np.ndarray:
    rounding = next((_ROUND[each] for each in options if each in _ROUND), None)
    if value.dtype.kind != "f":
        return value.astype(into)
    if into.kind == "f":
        return (value if rounding is None else rounding(value)).astype(into)
    assert rounding is not None, "an integer of a float is rounded"
    limits = np.iinfo(into)
    whole = np.nan_to_num(rounding(value.astype(np.float64)), nan=0)
    return np.clip(whole, float(limits.min), float(limits.max)).astype(into)


def _exact(operate: Callable[[np.ndarray], np.ndarray]) -> Handler:
    """An approximation of the hardware, as float64 makes it."""
    return _unary(lambda value: canonical(operate(value.astype(np.float64)).astype(value.dtype)))


HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(_BINARY, _binary),
    "mul": _multiply,
    "mad": _multiply_add,
    "fma": _fused,
    "neg": _unary(np.negative),
    "abs": _unary(np.abs),
    "not": _not,
    "shl": _shift,
    "shr": _shift,
    "shf": _funnel,
    "bfe": _extract,
    "bfi": _insert,
    "popc": _count_bits,
    "clz": _leading_zeros,
    "brev": _reverse_bits,
    "prmt": _permute,
    "lop3": _logic3,
    "div": _divide,
    "rem": _divide,
    "sqrt": _unary(np.sqrt),
    "rcp": _unary(lambda value: (1 / value).astype(value.dtype)),
    "rsqrt": _unary(lambda value: (1 / np.sqrt(value)).astype(value.dtype)),
    "ex2": _exact(np.exp2),
    "lg2": _exact(np.log2),
    "sin": _exact(np.sin),
    "cos": _exact(np.cos),
    "setp": _set_predicate,
    "selp": _select,
    "cvt": _convert,
}
"""Opcode -> how it is executed."""
