"""Short convolutions on a GPU: tiles of tokens and columns, or the tokens of a sequence in turn."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import triton
import triton.language as tl

from sala_compile.codegen.kernels.arguments import Arguments
from sala_compile.codegen.kernels.short_convolution import spec as convolution
from sala_compile.codegen.kernels.triton.family import GpuFamily
from sala_compile.codegen.kernels.triton.kernel import ONE, Grid, Launch
from sala_compile.codegen.kernels.triton.launches import constants_of, launch
from sala_compile.codegen.kernels.triton.phase import TokenForm, form_of
from sala_compile.codegen.kernels.triton.rows import power_of_two, warps_for
from sala_compile.codegen.kernels.triton.tiles import query_tile
from sala_compile.codegen.kernels.triton.values import silu
from sala_compile.codegen.layouts.padding import padded
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.sala_ir.dialect.recurrence import ShortConvolutionOp

LARGEST_WINDOW = 128
"""Tokens of a window that a program holds."""


@dataclass(frozen=True, slots=True)
class Spec(convolution.Spec):
    """What the kernel is compiled for: as on the CPU, and the form."""

    form: TokenForm = TokenForm.CHUNKS

    @property
    def label(self) -> str:
        """The family, the main sizes and the form, for names."""
        options = f"x{self.dilation}" * (self.dilation > 1) + "_bias" * self.bias
        return f"short_convolution_{self.columns}_t{self.taps}{options}_{self.form}"


@dataclass(frozen=True, slots=True)
class Schedule:
    """Tokens and columns of a tile; a step takes one token at a time."""

    rows: int = 16
    columns: int = 128


class Constants(NamedTuple):
    """Fields of the spec; a tile has ROWS tokens and BLOCK columns, a window KEPT rows in POWER."""

    COLUMNS: Any
    TAPS: Any
    DILATION: Any
    BIAS: Any
    X_START: Any
    X_PITCH: Any
    OUT_PITCH: Any
    ROWS: Any
    BLOCK: Any
    KEPT: Any
    POWER: Any


@triton.jit
def convolve_tiles(control, offsets, history, slots, x, window, weight, bias, out, C: Constants):
    """The outputs of a tile of tokens of one sequence; programs (parts of columns, tiles)."""
    sequences = tl.load(control + 1)
    tile = tl.program_id(1)
    sequence, first, stop = query_tile(offsets, sequences, 0, tl.load(control), tile, C.ROWS)
    if first == stop:
        return
    begin = tl.load(offsets + sequence)
    known = tl.load(history + sequence) > 0
    place = first - begin + tl.arange(0, C.ROWS)
    slot = tl.load(slots + sequence)
    convolve(x, window, weight, bias, out, begin, place, stop - begin, known, slot, C)


@triton.jit
def keep_windows(control, offsets, history, slots, x, window, C: Constants):
    """The window after the last token of each sequence; programs (parts of columns, sequences)."""
    sequence = tl.program_id(1)
    if sequence >= tl.load(control + 1):
        return
    begin = tl.load(offsets + sequence)
    count = tl.load(offsets + sequence + 1) - begin
    if count == 0:
        return
    known = tl.load(history + sequence) > 0
    slot = tl.load(slots + sequence)
    keep(x, window, begin, count, known, slot, slot, C)


@triton.jit
def convolve_steps(
    control, offsets, history, slots, checkpoints, x, window, weight, bias, out, C: Constants
):
    """The outputs of a sequence token after token, and its window.

    Programs (parts of columns, sequences). From row `checkpoints` of the pool on, unless that is
    negative, the windows after all tokens but the last are written as well.
    """
    sequence = tl.program_id(1)
    if sequence >= tl.load(control + 1):
        return
    begin = tl.load(offsets + sequence)
    count = tl.load(offsets + sequence + 1) - begin
    if count == 0:
        return
    known = tl.load(history + sequence) > 0
    slot = tl.load(slots + sequence)
    checkpoint = tl.load(checkpoints + sequence)
    for index in range(0, count):
        place = index + tl.arange(0, 1)
        convolve(x, window, weight, bias, out, begin, place, count, known, slot, C)
        if (checkpoint >= 0) & (index < count - 1):
            keep(x, window, begin, index + 1, known, slot, checkpoint + index, C)
    keep(x, window, begin, count, known, slot, slot, C)


@triton.jit
def convolve(x, window, weight, bias, out, begin, place, count, known, slot, C: Constants):
    """The outputs of new tokens number `place`, those below `count`; the oldest input first."""
    column = columns_of(C)
    live = place < count
    value = tl.zeros((place.shape[0], C.BLOCK), tl.float32)
    if C.BIAS:
        value += tl.load(bias + column, mask=column < C.OUT_PITCH, other=0.0)[None, :]
    for tap in tl.static_range(C.TAPS):  # type: ignore
        given = inputs_of(x, window, begin, place - C.KEPT + tap * C.DILATION, live, known, slot, C)
        factor = tl.load(weight + tap * C.OUT_PITCH + column, mask=column < C.OUT_PITCH, other=0.0)
        factor = tl.broadcast_to(factor[None, :], (place.shape[0], C.BLOCK))
        value = tl.fma(factor, given, value)
    to = out + (begin + place).to(tl.int64)[:, None] * C.OUT_PITCH + column[None, :]
    value = silu(value).to(out.dtype.element_ty)
    tl.store(to, value, mask=live[:, None] & (column < C.OUT_PITCH)[None, :])


@triton.jit
def keep(x, window, begin, count, known, slot, target, C: Constants):
    """Row `target` of the pool = the window after `count` new tokens of a sequence."""
    row = tl.arange(0, C.POWER)
    column = columns_of(C)
    live = row < C.KEPT
    value = inputs_of(x, window, begin, count - C.KEPT + row, live, known, slot, C)
    tl.debug_barrier()  # all have read the window before one of them writes to it
    at = window + (target.to(tl.int64) * C.KEPT + row)[:, None] * C.COLUMNS + column[None, :]
    tl.store(at, value, mask=live[:, None] & (column < C.COLUMNS)[None, :])


@triton.jit
def inputs_of(x, window, begin, place, live, known, slot, C: Constants):
    """Inputs number `place` of a sequence's new tokens [rows, BLOCK]; before them the window's."""
    column = columns_of(C)
    inside = (column < C.COLUMNS)[None, :]
    new = x + (begin + place).to(tl.int64)[:, None] * C.X_PITCH + C.X_START + column[None, :]
    old = window + (slot.to(tl.int64) * C.KEPT + C.KEPT + place)[:, None] * C.COLUMNS
    is_new = (live & (place >= 0))[:, None] & inside
    is_old = (live & (place < tl.where(known, 0, -C.KEPT)))[:, None] & inside
    given = tl.load(new, mask=is_new, other=0.0)
    return tl.where(is_new, given, tl.load(old + column[None, :], mask=is_old, other=0.0))


@triton.jit
def columns_of(C: Constants):
    """The columns of a program."""
    return tl.program_id(0) * C.BLOCK + tl.arange(0, C.BLOCK)


def describe(op: ShortConvolutionOp, target: CudaTarget) -> Spec | str:
    """Take every op whose input, window and weights are float32."""
    fields = convolution.fields_of(op)
    if isinstance(fields, str):
        return fields
    spec = Spec(**fields, form=form_of(op))
    if spec.kept > LARGEST_WINDOW:
        return f"windows of {spec.kept} tokens pass {LARGEST_WINDOW}"
    return spec


def arguments(spec: Spec, schedule: Schedule) -> Arguments:
    """The arguments of a call; only what was generated has checkpoints."""
    every = convolution.arguments(spec, schedule)
    is_step = spec.form is TokenForm.STEP
    return tuple(each for each in every if is_step or each.name != "checkpoints")


def launches(spec: Spec, schedule: Schedule, arguments: Arguments) -> tuple[Launch, ...]:
    """Sequences token after token; or tiles of tokens, then the windows."""
    pitch = padded(spec.columns)
    block = min(schedule.columns, power_of_two(pitch))
    constants = constants_of(
        spec,
        OUT_PITCH=pitch,
        ROWS=schedule.rows,
        BLOCK=block,
        KEPT=spec.kept,
        POWER=power_of_two(spec.kept),
    )
    warps = warps_for(power_of_two(spec.kept) * block)
    parts, sequences = Grid(-(-pitch // block)), Grid(0, (("sequences", 1, 1),))
    if spec.form is TokenForm.STEP:
        return (launch(convolve_steps, (parts, sequences, ONE), arguments, constants, warps=warps),)
    tiles = Grid(0, (("tokens", schedule.rows, 1), ("sequences", 1, 1)))
    return (
        launch(convolve_tiles, (parts, tiles, ONE), arguments, constants, warps=4),
        launch(keep_windows, (parts, sequences, ONE), arguments, constants, warps=warps),
    )


FAMILY = GpuFamily(
    name="short_convolution",
    spec=Spec,
    describe=describe,
    arguments=arguments,
    schedule=Schedule,
    launches=launches,
)
