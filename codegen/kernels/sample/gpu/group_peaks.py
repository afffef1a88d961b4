"""The Triton function that reads a row of logits once, on many multiprocessors."""

import triton
import triton.language as tl


@triton.jit
def measure_groups(
    control,
    sampling,
    logits,
    groups,
    LIVE: tl.constexpr,
    WORDS: tl.constexpr,
    COLUMNS: tl.constexpr,
    PITCH: tl.constexpr,
    GROUP: tl.constexpr,
    GROUPS: tl.constexpr,
    PART: tl.constexpr,
):
    """groups[row] = the largest logit of every GROUP columns, then the weight of each GROUP.

    A group that has a logit that is not a number has NaN. Weights are relative to the largest
    logit of the group, and are written where the row has a temperature. Programs (rows, PART
    groups).
    """
    row = tl.program_id(0)
    if row >= tl.load(control + LIVE):
        return
    group = tl.program_id(1) * PART + tl.arange(0, PART)
    column = group[:, None] * GROUP + tl.arange(0, GROUP)[None, :]
    line = logits + row.to(tl.int64) * PITCH
    value = tl.load(line + column, mask=column < COLUMNS, other=-float("inf"))
    wrong = tl.max((value != value).to(tl.int32), 1)
    value = tl.where(value == value, value, -float("inf"))
    peak = tl.max(value, 1)
    at = groups + row.to(tl.int64) * (2 * GROUPS) + group
    tl.store(at, tl.where(wrong > 0, float("nan"), peak), mask=group < GROUPS)  # type: ignore
    temperature = tl.load(sampling + row * WORDS).to(tl.float32, bitcast=True)
    if temperature > 0:
        weight = weight_of(value, peak[:, None], temperature)  # type: ignore
        tl.store(at + GROUPS, tl.sum(weight, 1), mask=group < GROUPS)


@triton.jit
def weight_of(value, best, temperature):
    """e^((value - best) / temperature), float32; 0 for minus infinity."""
    return tl.where(value > -float("inf"), tl.exp((value - best) / temperature), 0.0)
