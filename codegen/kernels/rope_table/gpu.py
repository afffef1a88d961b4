"""[cos | sin] of position * frequency for every new token, in float32, on a GPU.

Sine and cosine of float32 angles, by float64.
"""

from dataclasses import dataclass

import triton
import triton.language as tl

from sala_compile.codegen.kernels.arguments import Arguments
from sala_compile.codegen.kernels.rope_table import spec as rope_table
from sala_compile.codegen.kernels.rope_table.spec import Spec, arguments
from sala_compile.codegen.kernels.triton.family import GpuFamily
from sala_compile.codegen.kernels.triton.kernel import ONE, Grid, Launch
from sala_compile.codegen.kernels.triton.launches import constants_of, launch
from sala_compile.codegen.kernels.triton.rows import power_of_two
from sala_compile.codegen.kernels.triton.values import entry
from sala_compile.codegen.layouts.padding import padded
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.sala_ir.dialect.rope import RopeTableOp


@dataclass(frozen=True, slots=True)
class Schedule:
    """Tokens that a program takes."""

    tokens: int = 8


def describe(op: RopeTableOp, target: CudaTarget) -> Spec | str:
    """Take every table of the tokens' own positions."""
    if op.position_offset.value.data:
        return "a table of other positions than the tokens' own has no kernel on GPUs"
    return rope_table.describe(op, target)


@triton.jit
def write_table(
    control,
    token_position,
    token_sequence,
    call_lengths,
    table,
    FREQUENCIES: tl.constexpr,
    STARTS: tl.constexpr,
    RANGES: tl.constexpr,
    FACTOR: tl.constexpr,
    LOG_OFFSET: tl.constexpr,
    HALF: tl.constexpr,
    PITCH: tl.constexpr,
    TOKENS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """[cos | sin] of position * FREQUENCIES times FACTOR, padding 0; a program for TOKENS tokens.

    The angle is a float32; positions are not negative. FREQUENCIES has HALF values for each of
    RANGES ranges of call lengths, which begin at STARTS; with one of them no length is read. With a
    LOG_OFFSET, FACTOR is multiplied by ln(position + LOG_OFFSET).
    """
    row = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    tokens = tl.load(control)
    if tl.program_id(0) * TOKENS >= tokens:
        return
    position = tl.load(token_position + row, mask=row < tokens, other=0).to(tl.float32)
    lane = tl.arange(0, BLOCK)
    frequency = entry(lane, FREQUENCIES, HALF)[None, :]
    if RANGES > 1:
        sequence = tl.load(token_sequence + row, mask=row < tokens, other=0)
        length = tl.load(call_lengths + sequence, mask=row < tokens, other=0)[:, None]
        for i in tl.static_range(1, RANGES):  # type: ignore
            other = entry(lane + i * HALF, FREQUENCIES, RANGES * HALF)[None, :]
            frequency = tl.where(length >= STARTS[i], other, frequency)
    angle = position[:, None] * frequency
    cos, sin = cosine_and_sine(angle.to(tl.float64))
    factor = tl.full((TOKENS,), FACTOR, tl.float32)
    if LOG_OFFSET > 0:
        moved = position + LOG_OFFSET
        factor = logarithm(moved.to(tl.float64)).to(tl.float32) * factor
    to = table + row.to(tl.int64)[:, None] * PITCH + lane[None, :]
    live = (row < tokens)[:, None] & (lane < HALF)[None, :]
    tl.store(to, cos.to(tl.float32) * factor[:, None], mask=live)
    tl.store(to + HALF, sin.to(tl.float32) * factor[:, None], mask=live)
    if 2 * HALF < PITCH:
        padding = 2 * HALF + tl.arange(0, 16)
        beyond = (row < tokens)[:, None] & (padding < PITCH)[None, :]
        to = table + row.to(tl.int64)[:, None] * PITCH + padding[None, :]
        tl.store(to, tl.zeros((TOKENS, 16), tl.float32), mask=beyond)


@triton.jit
def logarithm(x):
    """Natural logarithm of x, normal float64 above 0, to 1e-16 of it or of 1.

    x = 2^k m, m from sqrt(1/2) to sqrt(2); fdlibm's polynomial of ((m - 1)/(m + 1))^2.
    """
    bits = x.to(tl.int64, bitcast=True)
    k = (bits - 0x3FE6A09E667F3BCD) >> 52
    m = (bits - (k << 52)).to(tl.float64, bitcast=True)
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    p = 1.479819860511658591e-01 * z + 1.531383769920937332e-01
    p = p * z + 1.818357216161805012e-01
    p = p * z + 2.222219843214978396e-01
    p = p * z + 2.857142874366239149e-01
    p = p * z + 3.999999999940941908e-01
    p = p * z + 6.666666666666735130e-01
    return k.to(tl.float64) * 0.6931471805599453 + s * (2.0 + p * z)


@triton.jit
def cosine_and_sine(x):
    """Cosine and sine of x, float64 from 0 to 2^20, to 1e-16.

    x less the nearest multiple of pi/2, which is subtracted in two parts of 33 and 53 bits, is at
    most pi/4; there fdlibm's polynomials hold.
    """
    turns = (x * 0.6366197723675814 + 0.5).to(tl.int32)
    count = turns.to(tl.float64)
    r = (x - count * 1.5707963267341256) - count * 6.077100506506192e-11
    z = r * r
    p = 1.58969099521155010221e-10 * z - 2.50507602534068634195e-08
    p = p * z + 2.75573137070700676789e-06
    p = p * z - 1.98412698298579493134e-04
    p = p * z + 8.33333333332248946124e-03
    p = p * z - 1.66666666666666324348e-01
    sin = r + r * z * p
    q = 2.08757232129817482790e-09 - 1.13596475577881948265e-11 * z
    q = q * z - 2.75573143513906633035e-07
    q = q * z + 2.48015872894767294178e-05
    q = q * z - 1.38888888888741095749e-03
    q = q * z + 4.16666666666666019037e-02
    cos = 1.0 - (0.5 * z - z * z * q)
    quarter = turns & 3
    swapped = (quarter & 1) == 1
    down, up = tl.where(swapped, sin, cos), tl.where(swapped, cos, sin)
    cosine = tl.where((quarter == 1) | (quarter == 2), -down, down)
    sine = tl.where(quarter >= 2, -up, up)
    return cosine, sine


def launches(spec: Spec, schedule: Schedule, arguments: Arguments) -> tuple[Launch, ...]:
    """A program for a few tokens."""
    constants = constants_of(
        spec,
        RANGES=len(spec.starts),
        HALF=spec.half,
        PITCH=padded(2 * spec.half),
        TOKENS=schedule.tokens,
        BLOCK=power_of_two(spec.half),
    )
    grid = (Grid(0, (("tokens", schedule.tokens, 1),)), ONE, ONE)
    return (launch(write_table, grid, arguments, constants, warps=4),)


FAMILY = GpuFamily(
    name="rope_table",
    spec=Spec,
    describe=describe,
    arguments=arguments,
    schedule=Schedule,
    launches=launches,
)
