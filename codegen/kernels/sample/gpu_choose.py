"""The Triton function that chooses tokens: no sort, passes over the row by one program."""

import triton
import triton.language as tl

LOWEST: tl.constexpr = tl.constexpr(-(1 << 31))
COUNTED: tl.constexpr = tl.constexpr(True)
WEIGHED: tl.constexpr = tl.constexpr(False)
PASSED: tl.constexpr = tl.constexpr(True)
REACHED: tl.constexpr = tl.constexpr(False)


@triton.jit
def read(row, first, VOCABULARY: tl.constexpr, BLOCK: tl.constexpr):
    """Ids, logits (-0 as 0) and their keys: int32 in the order of the logits."""
    index = first + tl.arange(0, BLOCK)
    x = tl.load(row + index, mask=index < VOCABULARY, other=float("-inf"))
    x = tl.where(x == 0, 0.0, x)
    bits = x.to(tl.int32, bitcast=True)
    return index, x, tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits)


@triton.jit
def weight_of(x, best, temperature, COUNT: tl.constexpr):
    """e^((x - best) / temperature), or 1 where tokens are counted."""
    if COUNT:
        return tl.where(x == x, 1.0, 0.0)
    return tl.exp((x - best) / temperature)


@triton.jit
def mass_from(
    row, key, best, temperature, VOCABULARY: tl.constexpr, BLOCK: tl.constexpr, COUNT: tl.constexpr
):
    """The weight of all tokens whose key is at least `key`."""
    total = tl.zeros((BLOCK,), tl.float32)
    for first in range(0, VOCABULARY, BLOCK):
        index, x, keys = read(row, first, VOCABULARY, BLOCK)
        kept = (keys >= key) & (index < VOCABULARY)
        total += tl.where(kept, weight_of(x, best, temperature, COUNT), 0.0)
    return tl.sum(total, 0)


@triton.jit
def largest_key(
    row,
    low,
    high,
    wanted,
    best,
    temperature,
    VOCABULARY: tl.constexpr,
    BLOCK: tl.constexpr,
    COUNT: tl.constexpr,
    PASS: tl.constexpr,
):
    """The largest key from low to high from which on tokens weigh `wanted` (PASS: more); or low.

    The keys are int64, so that their middle is one.
    """
    while low < high:
        middle = (low + high + 1) >> 1
        mass = mass_from(row, middle, best, temperature, VOCABULARY, BLOCK, COUNT)
        enough = mass > wanted if PASS else mass >= wanted
        low = tl.where(enough, middle, low)
        high = tl.where(enough, high, middle - 1)
    return low


@triton.jit
def tied(row, key, number, VOCABULARY: tl.constexpr, BLOCK: tl.constexpr):
    """The id of the token `number` (from 0, at most the last one) among those of one key."""
    before = number * 0
    found = number * 0
    for first in range(0, VOCABULARY, BLOCK):
        index, _, keys = read(row, first, VOCABULARY, BLOCK)
        same = ((keys == key) & (index < VOCABULARY)).to(tl.int32)
        rank = before + tl.cumsum(same, 0) - same
        here = (same == 1) & (rank <= number)
        found = tl.maximum(found, tl.max(tl.where(here, index, 0), 0))
        before += tl.sum(same, 0)
    return found


@triton.jit
def in_order(
    row, floor, ties, wanted, best, temperature, VOCABULARY: tl.constexpr, BLOCK: tl.constexpr
):
    """The first id up to which tokens weigh more than wanted: those above floor, `ties` at it."""
    before = wanted * 0
    rank_before = ties * 0
    found = ties * 0 + VOCABULARY
    last = ties * 0
    for first in range(0, VOCABULARY, BLOCK):
        index, x, keys = read(row, first, VOCABULARY, BLOCK)
        inside = index < VOCABULARY
        same = ((keys == floor) & inside).to(tl.int32)
        rank = rank_before + tl.cumsum(same, 0) - same
        kept = inside & ((keys > floor) | ((same == 1) & (rank < ties)))
        weight = tl.where(kept, weight_of(x, best, temperature, WEIGHED), 0.0)
        reached = kept & (before + tl.cumsum(weight, 0) > wanted)
        found = tl.minimum(found, tl.min(tl.where(reached, index, VOCABULARY), 0))
        last = tl.maximum(last, tl.max(tl.where(kept & (weight > 0), index, 0), 0))
        before += tl.sum(weight, 0)
        rank_before += tl.sum(same, 0)
    return tl.where(found < VOCABULARY, found, last)


@triton.jit
def split_at(row, key, best, temperature, VOCABULARY: tl.constexpr, BLOCK: tl.constexpr):
    """What the tokens above a key weigh, and one at it."""
    above = mass_from(row, key + 1, best, temperature, VOCABULARY, BLOCK, WEIGHED)
    bits = tl.where(key < 0, key ^ 0x7FFFFFFF, key).to(tl.int32)
    return above, weight_of(bits.to(tl.float32, bitcast=True), best, temperature, WEIGHED)


@triton.jit
def heaviest_first(
    row,
    floor,
    top,
    wanted,
    uniform,
    best,
    temperature,
    total,
    VOCABULARY: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """A token of the fewest heaviest ones that weigh `wanted`, in which order they are drawn."""
    edge = largest_key(
        row, floor, top, wanted, best, temperature, VOCABULARY, BLOCK, WEIGHED, REACHED
    )
    above, weight = split_at(row, edge, best, temperature, VOCABULARY, BLOCK)
    kept = tl.minimum(above + tl.ceil((wanted - above) / weight) * weight, total)
    target = uniform * tl.maximum(kept, above)
    key = largest_key(row, edge, top, target, best, temperature, VOCABULARY, BLOCK, WEIGHED, PASSED)
    above, weight = split_at(row, key, best, temperature, VOCABULARY, BLOCK)
    number = tl.maximum(tl.floor((target - above) / weight), 0.0).to(tl.int32)
    return tied(row, key, number, VOCABULARY, BLOCK)


@triton.jit
def draw(
    row,
    best,
    best_key,
    temperature,
    share,
    count,
    uniform,
    VOCABULARY: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """A token by the uniform number: of the `count` best ones, then of `share` of their weight."""
    top = best_key.to(tl.int64)
    floor = top * 0 + LOWEST
    ties = best_key * 0
    if (count > 0) & (count < VOCABULARY):
        most = count.to(tl.float32)
        floor = largest_key(
            row, floor, top, most, best, temperature, VOCABULARY, BLOCK, COUNTED, REACHED
        )
        above = mass_from(row, floor + 1, best, temperature, VOCABULARY, BLOCK, COUNTED)
        ties = count - above.to(tl.int32)
    above, weight = split_at(row, floor, best, temperature, VOCABULARY, BLOCK)
    total = above + tl.where(ties > 0, ties.to(tl.float32) * weight, 0.0)
    token = best_key * 0
    if share < 1:
        token = heaviest_first(
            row, floor, top, share * total, uniform, best, temperature, total, VOCABULARY, BLOCK
        )
    else:
        token = in_order(row, floor, ties, uniform * total, best, temperature, VOCABULARY, BLOCK)
    return token


@triton.jit
def choose_tokens(
    control,
    draws,
    logits,
    tokens,
    VOCABULARY: tl.constexpr,
    PITCH: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """tokens[r]: of row r of the logits by draws[r], and 0; 0 and 1 where a logit is NaN.

    Without a temperature the best one; of equal logits the lowest id.
    """
    line = tl.program_id(0)
    if line >= tl.load(control + 2):
        return
    row = logits + line.to(tl.int64) * PITCH
    best_key = line * 0 + LOWEST
    invalid = line * 0
    for first in range(0, VOCABULARY, BLOCK):
        _, x, keys = read(row, first, VOCABULARY, BLOCK)
        invalid += tl.sum((x != x).to(tl.int32), 0)
        best_key = tl.maximum(best_key, tl.max(keys, 0))
    temperature = tl.load(draws + line * 4).to(tl.float32, bitcast=True)
    token = line * 0
    if invalid == 0:
        if temperature == 0:
            token = tied(row, best_key, line * 0, VOCABULARY, BLOCK)
        else:
            bits = tl.where(best_key < 0, best_key ^ 0x7FFFFFFF, best_key)
            token = draw(
                row,
                bits.to(tl.float32, bitcast=True),
                best_key,
                temperature,
                tl.load(draws + line * 4 + 1).to(tl.float32, bitcast=True),
                tl.load(draws + line * 4 + 2),
                tl.load(draws + line * 4 + 3).to(tl.float32, bitcast=True),
                VOCABULARY,
                BLOCK,
            )
    tl.store(tokens + line * 2, token)
    tl.store(tokens + line * 2 + 1, tl.where(invalid > 0, 1, 0))
