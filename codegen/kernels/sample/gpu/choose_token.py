"""The Triton function that chooses a token from what `measure_groups` found of a row."""

import triton
import triton.language as tl

from sala_compile.codegen.kernels.sample.gpu.group_peaks import weight_of
from sala_compile.codegen.kernels.sample.gpu.kept_logits import (
    candidates,
    counted,
    first_candidate,
    keep,
    list_groups,
    place_of,
    units,
    value_of,
)


@triton.jit
def choose(
    control,
    sampling,
    logits,
    groups,
    listed,
    sampled,
    LIVE: tl.constexpr,
    WORDS: tl.constexpr,
    COLUMNS: tl.constexpr,
    PITCH: tl.constexpr,
    GROUP: tl.constexpr,
    GROUPS: tl.constexpr,
    WIDTH: tl.constexpr,
    TURN: tl.constexpr,
):
    """sampled[row] = (token, 1 if a logit is not a number, 2 if all are minus infinity).

    WIDTH is a power of two that holds GROUPS. Of groups that may have kept logits TURN are read at
    a time, the first TURN once. `listed` [rows, 2 GROUPS] is scratch.
    """
    row = tl.program_id(0)
    if row >= tl.load(control + LIVE):
        return
    line = logits + row.to(tl.int64) * PITCH
    group = tl.arange(0, WIDTH)
    at = groups + row.to(tl.int64) * (2 * GROUPS) + group
    peak = tl.load(at, mask=group < GROUPS, other=-float("inf"))
    wrong = tl.max((peak != peak).to(tl.int32), 0)
    best = tl.max(tl.where(peak == peak, peak, -float("inf")), 0)
    first = tl.min(tl.where(peak == best, group, GROUPS - 1), 0)
    column = first * GROUP + tl.arange(0, GROUP)
    value = tl.load(line + column, mask=column < COLUMNS, other=float("nan"))
    token = tl.min(tl.where(value == best, column, COLUMNS), 0)
    words = sampling + row * WORDS
    temperature = tl.load(words).to(tl.float32, bitcast=True)
    if (temperature > 0) & (wrong == 0) & (tl.abs(best) < float("inf")):
        best = tl.where(best == 0, 0.0, best)  # the key of -0 is not that of +0
        heaviest = weight_of(peak, best, temperature)
        weight = tl.load(at + GROUPS, mask=group < GROUPS, other=0.0) * heaviest
        places = listed + row.to(tl.int64) * (2 * GROUPS)
        token = draw(
            line, words, places, peak, heaviest, weight, best, temperature, COLUMNS, GROUP, GROUPS,
            TURN
        )  # fmt: skip
    mark = tl.where(wrong > 0, 1, tl.where(best == -float("inf"), 2, 0))  # type: ignore
    tl.store(sampled + row * 2, tl.where(mark > 0, 0, token))
    tl.store(sampled + row * 2 + 1, mark)


@triton.jit
def draw(
    line,
    words,
    listed,
    peak,
    heaviest,
    weight,
    best,
    temperature,
    COLUMNS: tl.constexpr,
    GROUP: tl.constexpr,
    GROUPS: tl.constexpr,
    TURN: tl.constexpr,
):
    """The first kept token, by ascending id, at which the kept weigh more than their share.

    Of each group the largest logit `peak`, its weight `heaviest`, and the `weight` of all.
    """
    share = tl.load(words + 1).to(tl.float32, bitcast=True)
    most = tl.load(words + 2)
    most = tl.where(most < COLUMNS, most, 0)
    uniform = tl.load(words + 3).to(tl.float32, bitcast=True)
    floor = tl.load(words + 4).to(tl.float32, bitcast=True)
    kept = place_of(tl.full((), -float("inf"), tl.float32))
    if (most > 0) | (share < 1) | (floor > 0):
        counts = most > 0
        narrows = counts | (share < 1)
        kept = first_candidate(
            peak,
            tl.where(counts, 1.0, heaviest),
            tl.where(counts, 1.0, weight),
            tl.where(counts, 0.0, GROUP - 1.0),
            # The weights of groups have other errors of rounding.
            tl.where(counts, most.to(tl.float32), share * tl.sum(weight, 0) * 1.0001),
            best,
            temperature,
            tl.where(narrows, GROUPS, 0),
            TURN,
        )
        chosen = (peak > -float("inf")) & (peak >= value_of(kept))
        chosen = chosen & (heaviest >= tl.where(narrows, 0.0, floor))
        count = list_groups(listed, chosen)
        # Other threads read the list that these wrote.
        tl.debug_barrier()
        whole = tl.sum(units(weight), 0)
        kept, whole = keep(
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
            COLUMNS,
            GROUP,
            GROUPS,
            TURN,
        )
        goal = share_of(uniform, whole)
        place, goal = walk(
            line, listed, count, goal, kept, floor, best, temperature, COLUMNS, GROUP, TURN
        )
    else:
        one = units(weight)
        place, goal = passing(one, share_of(uniform, tl.sum(one, 0)))
    return pick(line, place, goal, kept, floor, best, temperature, COLUMNS, GROUP)


@triton.jit
def share_of(uniform, total):
    """The part of a sum of integers, a whole number below it."""
    part = tl.floor(uniform.to(tl.float64) * total.to(tl.float64)).to(tl.int64)
    return tl.minimum(part, total - 1)


@triton.jit
def passing(one, goal):
    """The first place where the running sum is above `goal`, and how much of that is left there.

    Without such a place their number, and `goal` less the sum.
    """
    COUNT: tl.constexpr = one.shape[0]
    order = tl.cumsum(one, 0)
    place = tl.min(tl.where(order > goal, tl.arange(0, COUNT), COUNT), 0)
    return place, goal - tl.max(tl.where(order <= goal, order, 0), 0)


@triton.jit
def walk(
    line,
    listed,
    count,
    goal,
    kept,
    floor,
    best,
    temperature,
    COLUMNS: tl.constexpr,
    GROUP: tl.constexpr,
    TURN: tl.constexpr,
):
    """The listed group with the token, and what is left of `goal` in it."""
    found = count * 0 - 1
    for start in range(0, count, TURN):
        value, column = candidates(line, listed, start, count, COLUMNS, GROUP, TURN)
        one = tl.sum(counted(value, column, kept, True, floor, best, temperature), 1)
        place, left = passing(one, goal)
        goal = tl.where(found < 0, left, goal)
        found = tl.where((found < 0) & (place < TURN), start + place, found)  # type: ignore
    return tl.load(listed + found), goal


@triton.jit
def pick(
    line,
    group,
    goal,
    kept,
    floor,
    best,
    temperature,
    COLUMNS: tl.constexpr,
    GROUP: tl.constexpr,
):
    """The first kept column of a group at which their weight is above `goal`, or the last one.

    The weight of a group has other errors of rounding than those of its logits.
    """
    column = group * GROUP + tl.arange(0, GROUP)
    value = tl.load(line + column, mask=column < COLUMNS, other=-float("inf"))
    one = counted(value, column, kept, True, floor, best, temperature)
    here = tl.min(tl.where(tl.cumsum(one, 0) > goal, column, COLUMNS), 0)
    return tl.minimum(here, tl.max(tl.where(one > 0, column, 0), 0))
