"""The Triton function that chooses a token from a row of logits."""

import triton
import triton.language as tl

LOWEST = tl.constexpr(0x007FFFFF)
"""Key of minus infinity; below it are the keys of NaN."""


@triton.jit
def choose(
    control,
    sampling,
    logits,
    sampled,
    LIVE: tl.constexpr,
    WORDS: tl.constexpr,
    COLUMNS: tl.constexpr,
    PITCH: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """sampled[row] = (token, 1 if a logit is not a number, 2 if all are minus infinity)."""
    row = tl.program_id(0)
    if row >= tl.load(control + LIVE):
        return
    line = logits + row.to(tl.int64) * PITCH
    best, token, wrong = largest(line, COLUMNS, BLOCK)
    words = sampling + row * WORDS
    temperature = tl.load(words).to(tl.float32, bitcast=True)
    if (temperature > 0) & (tl.abs(best) < float("inf")):
        share = tl.load(words + 1).to(tl.float32, bitcast=True).to(tl.float64)
        count = tl.load(words + 2)
        uniform = tl.load(words + 3).to(tl.float32, bitcast=True).to(tl.float64)
        floor = tl.load(words + 4).to(tl.float32, bitcast=True)
        least = tl.full((), -float("inf"), tl.float32)
        level = tl.full((), COLUMNS, tl.int32)
        if (count > 0) & (count < COLUMNS):
            least, level = keep_best(line, count, COLUMNS, BLOCK)
        total = weight_kept(line, least, level, 0.0, best, temperature, COLUMNS, BLOCK)
        if share < 1:
            least, level, total = keep_share(
                line, share * total, least, level, best, temperature, COLUMNS, BLOCK
            )
        if floor > 0:
            total = weight_kept(line, least, level, floor, best, temperature, COLUMNS, BLOCK)
        token = walk(line, uniform * total, least, level, floor, best, temperature, COLUMNS, BLOCK)
    mark = tl.where(wrong > 0, 1, tl.where(best == -float("inf"), 2, 0))
    tl.store(sampled + row * 2, tl.where(mark > 0, 0, token))
    tl.store(sampled + row * 2 + 1, mark)


@triton.jit
def load_block(line, start, COLUMNS: tl.constexpr, BLOCK: tl.constexpr):
    """A block of logits and their columns; not a number beyond the last one."""
    column = start + tl.arange(0, BLOCK)
    return tl.load(line + column, mask=column < COLUMNS, other=float("nan")), column


@triton.jit
def largest(line, COLUMNS: tl.constexpr, BLOCK: tl.constexpr):
    """The largest logit, its lowest column, and how many logits are not numbers."""
    best = tl.full((), -float("inf"), tl.float32)
    token = tl.full((), 0, tl.int32)
    wrong = token
    for start in range(0, COLUMNS, BLOCK):
        value, column = load_block(line, start, COLUMNS, BLOCK)
        number = value == value
        wrong += tl.sum(((column < COLUMNS) & (number == 0)).to(tl.int32), 0)
        value = tl.where(number, value, -float("inf"))
        top = tl.max(value, 0)
        place = tl.min(tl.where(value == top, column, COLUMNS), 0)
        token = tl.where(top > best, place, token)
        best = tl.maximum(best, top)
    return best, token, wrong


@triton.jit
def float_of(key):
    """The float32 with an order-preserving key from 0 to 2^32 - 1."""
    # Keys from 2^31 on are numbers >= +0 (sign cleared); below, all bits of negatives flipped.
    bits = tl.where(key >= 2147483648, key - 2147483648, 4294967295 - key)
    return bits.to(tl.uint32).to(tl.float32, bitcast=True)


@triton.jit
def weight_of(value, best, temperature):
    """e^((value - best) / temperature); 0 for NaN."""
    return tl.where(value == value, tl.exp((value - best) / temperature), 0.0)


@triton.jit
def keep_best(line, count, COLUMNS: tl.constexpr, BLOCK: tl.constexpr):
    """The `count`-th largest logit, and how many logits equal to it are among the `count` best."""
    key = tl.full((), 0, tl.int64)
    for step in range(32):
        # Binary search over the 32 bits of an order-preserving key.
        trial = key + (tl.full((), 1, tl.int64) << (31 - step))
        found, _ = count_from(line, float_of(trial), COLUMNS, BLOCK)
        key = tl.where((found >= count) | (trial < LOWEST), trial, key)
    least = float_of(key)
    _, above = count_from(line, least, COLUMNS, BLOCK)
    return least, count - above


@triton.jit
def count_from(line, least, COLUMNS: tl.constexpr, BLOCK: tl.constexpr):
    """How many logits are at least `least`, and how many are above it."""
    found = tl.zeros((BLOCK,), tl.int32)
    above = found
    for start in range(0, COLUMNS, BLOCK):
        value, _ = load_block(line, start, COLUMNS, BLOCK)
        found += (value >= least).to(tl.int32)
        above += (value > least).to(tl.int32)
    return tl.sum(found, 0), tl.sum(above, 0)


@triton.jit
def weight_above(
    line,
    least,
    floor,
    best,
    temperature,
    COLUMNS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The weight, float64, of all logits above `least` that weigh at least `floor`."""
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, COLUMNS, BLOCK):
        value, _ = load_block(line, start, COLUMNS, BLOCK)
        weight = weight_of(value, best, temperature)
        total += tl.where((value > least) & (weight >= floor), weight, 0.0)
    return tl.sum(total.to(tl.float64), 0)


@triton.jit
def weight_kept(
    line,
    least,
    level,
    floor,
    best,
    temperature,
    COLUMNS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The weight, float64, of all above `least` and of `level` at it, if they weigh `floor`."""
    above = weight_above(line, least, floor, best, temperature, COLUMNS, BLOCK)
    weight = weight_of(least, best, temperature)
    return above + level.to(tl.float64) * tl.where(weight >= floor, weight, 0.0).to(tl.float64)


@triton.jit
def keep_share(
    line,
    goal,
    least,
    level,
    best,
    temperature,
    COLUMNS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The least logit that is kept, how many equal to it, and the weight of all that are kept.

    The heaviest are kept until their weight reaches `goal`, none below `least`, of those equal to
    it the first `level`. The weight above a logit falls with it: the search is for the last key
    above which `goal` is reached; what is kept begins after it.
    """
    key = tl.full((), 0, tl.int64)
    for step in range(32):
        trial = key + (tl.full((), 1, tl.int64) << (31 - step))
        bound = float_of(trial)
        reached = weight_above(line, bound, 0.0, best, temperature, COLUMNS, BLOCK) >= goal
        key = tl.where(reached | (bound < least) | (trial < LOWEST), trial, key)
    bound = float_of(key + 1)
    above = weight_above(line, bound, 0.0, best, temperature, COLUMNS, BLOCK)
    weight = weight_of(bound, best, temperature).to(tl.float64)
    fitting = tl.where(weight > 0, tl.ceil((goal - above) / weight), COLUMNS)
    fitting = tl.minimum(fitting, COLUMNS).to(tl.int32)
    found, heavier = count_from(line, bound, COLUMNS, BLOCK)
    fitting = tl.minimum(fitting, found - heavier)  # type: ignore
    level = tl.minimum(fitting, tl.where(bound == least, level, COLUMNS))
    return bound, level, above + level.to(tl.float64) * weight


@triton.jit
def walk(
    line,
    goal,
    least,
    level,
    floor,
    best,
    temperature,
    COLUMNS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The first kept token, by ascending id, at which the weight of the kept passes `goal`.

    All above `least` are kept, and the first `level` that equal it, if they weigh `floor`.
    """
    token = tl.full((), -1, tl.int32)
    last = token
    passed = tl.full((), 0.0, tl.float64)
    equal = tl.full((), 0, tl.int32)
    for start in range(0, COLUMNS, BLOCK):
        value, column = load_block(line, start, COLUMNS, BLOCK)
        same = (value == least).to(tl.int32)
        rank = equal + tl.cumsum(same, 0)
        weight = weight_of(value, best, temperature)
        kept = ((value > least) | ((same == 1) & (rank <= level))) & (weight >= floor)
        weight = tl.where(kept, weight, 0.0).to(tl.float64)
        reached = passed + tl.cumsum(weight, 0)
        here = tl.min(tl.where(kept & (reached > goal), column, COLUMNS), 0)
        token = tl.where((token < 0) & (here < COLUMNS), here, token)
        last = tl.maximum(last, tl.max(tl.where(weight > 0, column, -1), 0))
        passed += tl.sum(weight, 0)
        equal += tl.sum(same, 0)
    return tl.where(token < 0, last, token)
