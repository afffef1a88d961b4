"""Device functions that find which logits of a row are kept.

A place is where a line of all logits is cut, the largest first, of equal ones the lowest column
first: the order-preserving key of a float32, then a column. Logits at or before a place are kept.
What they count is a whole number, 1 each or their weights in multiples of 1 / UNIT, rounded up:
sums of integers are exact in any order.
"""

import triton
import triton.language as tl

from sala_compile.codegen.kernels.sample.gpu.group_peaks import weight_of

UNIT = tl.constexpr(float(1 << 42))
COLUMN_BITS = tl.constexpr(21)
"""Of a place; the sum of so many weights of 1 fits 64 bits."""
LAST_COLUMN = tl.constexpr((1 << 21) - 1)
ONE_KEY = tl.constexpr(1 << 21)
ZERO = tl.constexpr(1 << 31)
"""The key of +0, which is 1 after that of -0."""


@triton.jit
def place_of(value):
    """The place after all logits equal to a float32, int64."""
    # Keys from 2^31 on are numbers >= +0; below, all bits of negatives are flipped.
    bits = value.to(tl.int32, bitcast=True)
    key = tl.where(bits < 0, ~bits, bits).to(tl.int64) + tl.where(bits < 0, 0, ZERO)
    return key << COLUMN_BITS


@triton.jit
def value_of(place):
    """The float32 of a place."""
    key = place >> COLUMN_BITS
    bits = tl.where(key >= ZERO, key - ZERO, 2 * ZERO - 1 - key)
    return bits.to(tl.uint32).to(tl.float32, bitcast=True)


@triton.jit
def is_before(value, column, place):
    """Whether logits are at or before a place."""
    bound = value_of(place)
    upto = LAST_COLUMN - (place & LAST_COLUMN)
    # -0 equals +0, whose places come first.
    upto = tl.where(place >> COLUMN_BITS == ZERO - 1, LAST_COLUMN, upto)
    return (value > bound) | ((value == bound) & (column <= upto))


@triton.jit
def units(weight):
    """Float32 weights as multiples of 1 / UNIT, int64."""
    return tl.ceil(weight * UNIT).to(tl.int64)


@triton.jit
def first_candidate(
    peak, each, all_of, spread, goal, best, temperature, fitting, FIT: tl.constexpr
):
    """A place that kept logits come before, if possible one that only FIT groups reach.

    What counts at least `goal` is before it. Of a group whose largest logit is `peak` at least
    `each` is, and `all_of` but for `spread` logits, each lighter than the bound. `fitting` groups
    reach minus infinity.
    """
    low = place_of(tl.full((), -float("inf"), tl.float32)) >> COLUMN_BITS
    high = (place_of(best) >> COLUMN_BITS) + 1
    while (high - low > 1) & (fitting > FIT):
        middle = (low + high) // 2
        bound = value_of(middle << COLUMN_BITS)
        lighter = spread * weight_of(bound, best, temperature)
        sure = tl.where(peak >= bound, tl.maximum(each, all_of - lighter), 0.0)
        enough = tl.sum(sure, 0) >= goal
        fitting = tl.where(enough, tl.sum((peak >= bound).to(tl.int32), 0), fitting)
        low = tl.where(enough, middle, low)
        high = tl.where(enough, high, middle)
    return low << COLUMN_BITS


@triton.jit
def list_groups(listed, chosen):
    """Write the numbers of the chosen groups, ascending; returns how many."""
    group = tl.arange(0, chosen.shape[0])
    order = tl.cumsum(chosen.to(tl.int32), 0)
    tl.store(listed + order - 1, group, mask=chosen)
    return tl.sum(chosen.to(tl.int32), 0)


@triton.jit
def candidates(
    line, listed, start, count, COLUMNS: tl.constexpr, GROUP: tl.constexpr, TURN: tl.constexpr
):
    """Logits [TURN, GROUP] of the listed groups from `start` on, and their columns."""
    slot = start + tl.arange(0, TURN)
    group = tl.load(listed + slot, mask=slot < count, other=COLUMNS)
    column = group[:, None] * GROUP + tl.arange(0, GROUP)[None, :]
    return tl.load(line + column, mask=column < COLUMNS, other=-float("inf")), column


@triton.jit
def counted(value, column, kept, weighs, floor, best, temperature):
    """What logits count, int64: nothing after the place `kept`, and if they weigh below `floor`."""
    weight = weight_of(value, best, temperature)
    counts = is_before(value, column, kept) & (value > -float("inf")) & (weight >= floor)
    return tl.where(counts, tl.where(weighs, units(weight), 1), 0)


@triton.jit
def between(kept, beyond, halves):
    """A place between two others: in the middle of their values with `halves`, else of their bits.

    Values halve a normal distribution in fewer turns, bits any.
    """
    middle = place_of(0.5 * value_of(kept) + 0.5 * value_of(beyond))
    halves = halves & (middle > kept) & (middle < beyond)
    return tl.where(halves, middle, (kept + beyond) // 2)


@triton.jit
def list_between(
    line,
    listed,
    count,
    kept,
    beyond,
    COLUMNS: tl.constexpr,
    GROUP: tl.constexpr,
    GROUPS: tl.constexpr,
    TURN: tl.constexpr,
):
    """Write, after a list of groups, those with logits between two places; returns how many."""
    many = count * 0
    for start in range(0, count, TURN):
        value, column = candidates(line, listed, start, count, COLUMNS, GROUP, TURN)
        inside = is_before(value, column, kept) & (is_before(value, column, beyond) == 0)
        chosen = tl.max(inside.to(tl.int32), 1)
        slot = start + tl.arange(0, TURN)
        group = tl.load(listed + slot, mask=slot < count, other=0)
        at = listed + GROUPS + many + tl.cumsum(chosen, 0) - 1
        tl.store(at, group, mask=chosen > 0)  # type: ignore
        many += tl.sum(chosen, 0)
    return many


@triton.jit
def keep(
    line,
    listed,
    count,
    kept,
    most,
    share,
    floor,
    whole,
    best,
    temperature,
    COLUMNS: tl.constexpr,
    GROUP: tl.constexpr,
    GROUPS: tl.constexpr,
    TURN: tl.constexpr,
):
    """The place of the last kept logit, and what all kept weigh that are heavy enough.

    Before the place `kept` come all that can be kept; `whole` is what all logits of the row weigh.
    """
    # The `most` largest; of those the heaviest with a share of the weight; the weight of the rest.
    for phase in range(3):
        before = kept
        lightest = tl.where(phase == 2, floor, 0.0)
        value, column = candidates(line, listed, 0, count, COLUMNS, GROUP, TURN)
        one = counted(value, column, before, phase > 0, lightest, best, temperature)
        many = count
        goal = tl.full((), 0, tl.int64)
        middle = before
        beyond = place_of(best) + ONE_KEY
        # What is at or before `kept`, and at or before `beyond`.
        inside, outside = count * 0, count * 0
        passed = goal
        # Of what is before `beyond` what is no longer read.
        number_read, total_read = outside, goal
        halves = phase < 0
        going = (phase == 2) | ((phase == 0) & (most > 0)) | ((phase == 1) & (share < 1))
        while going:
            hit = is_before(value, column, middle) & (one > 0)
            number = number_read + tl.sum(hit.to(tl.int32))
            total = total_read + tl.sum(tl.where(hit, one, 0))
            for start in range(TURN, many, TURN):
                more, at = candidates(line, listed, start, count, COLUMNS, GROUP, TURN)
                each = counted(more, at, before, phase > 0, lightest, best, temperature)
                hit = is_before(more, at, middle) & (each > 0)
                number += tl.sum(hit.to(tl.int32))
                total += tl.sum(tl.where(hit, each, 0))
            if goal == 0:  # the first turn counts all
                whole = tl.where((phase == 2) | (most > 0), total, whole)
                part = tl.ceil(share.to(tl.float64) * whole.to(tl.float64)).to(tl.int64)
                goal = tl.where(phase == 0, most.to(tl.int64), tl.maximum(part, 1))
                goal = tl.minimum(goal, total)
            enough = total >= goal
            kept, inside = tl.where(enough, middle, kept), tl.where(enough, number, inside)
            beyond = tl.where(enough, beyond, middle)
            outside = tl.where(enough, outside, number)
            passed = tl.where(enough, passed, total)
            # Until one logit is left from one place to the other.
            going = (phase < 2) & (inside - outside > 1)
            if going & (many > TURN) & (inside - outside <= TURN):
                many = list_between(line, listed, count, kept, beyond, COLUMNS, GROUP, GROUPS, TURN)
                tl.debug_barrier()
                value, column = candidates(line, listed + GROUPS, 0, many, COLUMNS, GROUP, TURN)
                one = counted(value, column, before, phase > 0, lightest, best, temperature)
                one = tl.where(is_before(value, column, beyond), 0, one)
                number_read, total_read = outside, passed
            halves = halves == 0
            middle = between(kept, beyond, halves)
    return kept, whole
