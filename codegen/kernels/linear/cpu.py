"""y = scale * epilogue(x W^T + bias) + residual for any number of rows, on the CPU."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from xdsl.ir import Operation

from codegen.kernels.linear.layout import PANEL_ROWS, panel_shape
from codegen.kernels.operands import (
    column_views,
    element,
    indices_of,
    padded,
    refuse_unless_float32,
    spec_values,
    symbol_of,
)
from codegen.kernels.tir import vector
from codegen.kernels.tir.builder import (
    LANES,
    Control,
    Expr,
    KernelBuilder,
    Registers,
    Tensor,
    kernel,
    lanes,
    let,
    loop,
    prefetch,
    registers,
    shared,
    splat,
    when,
    workers,
)
from codegen.kernels.tir.element import Element
from codegen.kernels.tir.ir import T
from codegen.targets.cpu import CpuTarget
from passes.kernel_choice import KernelChoice
from sala_ir.dialect.attributes import Epilogue, Extent, LayoutAttr
from sala_ir.dialect.base import columns_of, weight_shape
from sala_ir.dialect.linear import LinearOp

PANEL_VECTORS = PANEL_ROWS // LANES


@dataclass(frozen=True, slots=True)
class Spec:
    """Constants of one linear kernel.

    `depth` is K, `rows` the N of the weight (with SwiGLU: gate and up, interleaved), `weight` the
    element type of x and of the weight. A `residual_pitch` of 0 means that there is no residual.
    """

    depth: int
    rows: int
    weight: Element
    output: Element
    scale: float
    bias: bool
    swiglu: bool
    extent: str
    x_start: int
    x_pitch: int
    residual_start: int = 0
    residual_pitch: int = 0

    def __post_init__(self) -> None:
        """Accept element types by name, as a saved spec has them."""
        object.__setattr__(self, "weight", Element(self.weight))
        object.__setattr__(self, "output", Element(self.output))

    @property
    def symbol(self) -> str:
        """A unique name: the sizes, the element, and what is fused."""
        parts = [f"{self.depth}x{self.rows}", self.weight]
        parts += ["bias"] * self.bias + ["swiglu"] * self.swiglu
        parts += ["residual"] * bool(self.residual_pitch)
        return symbol_of("linear", "_".join(parts), self)

    @property
    def columns(self) -> int:
        """Columns that the kernel writes: all of the output's pitch."""
        return padded(self.rows // 2 if self.swiglu else self.rows)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Tiles and steps of a linear kernel.

    `accumulators` vectors are in flight at most; `tile_rows` rows share a read of the weight;
    `unroll` steps stand in one loop body; a worker takes `block_tiles` tiles of rows at a time;
    with at most `prefetch_rows` rows the weight is prefetched `prefetch_steps` steps ahead.
    """

    accumulators: int = 24
    tile_rows: int = 6
    unroll: int = 4
    block_tiles: int = 16
    prefetch_rows: int = 2
    prefetch_steps: int = 16

    def vectors(self, rows: int) -> int:
        """Return the vectors of a panel that a tile of `rows` rows computes at a time."""
        fitting = [n for n in (1, 2, 4) if n * rows <= self.accumulators]
        return max(fitting, default=1)


SMALL = 1 << 17
"""Multiply-adds that one thread does sooner than it wakes the others."""


def default_schedule(spec: Spec, target: CpuTarget) -> Schedule:
    """Return tiles that fit the target's registers."""
    if target.has_avx512:
        return Schedule()
    return Schedule(accumulators=6, tile_rows=3, unroll=2)


def rule(op: Operation, target: Any) -> KernelChoice | str:
    """Choose this kernel for a linear whose input has the element type of its weight."""
    if not isinstance(op, LinearOp):
        return f"{op.name} is not a linear"
    if element(op.x) is not element(op.weight):
        return f"input is {element(op.x)}, weight {element(op.weight)}: they must be equal"
    reason = refuse_unless_float32(bias=op.bias, residual=op.residual)
    if reason:
        return reason
    spec = _spec(op)
    if spec.x_start + -(-spec.depth // spec.weight.pack) * spec.weight.pack > spec.x_pitch:
        return f"columns {spec.x_start} .. of the input end inside a pair"
    wanted = (op.x, op.weight, op.bias, op.residual)
    inputs = tuple(f"in:{i}" for i in range(sum(value is not None for value in wanted)))
    return KernelChoice(
        symbol=spec.symbol,
        family="linear",
        spec=spec_values(spec),
        operands=indices_of(op.operands, *wanted),
        arguments=("control", *inputs, "out:0"),
        weight_layouts={1: LayoutAttr.panel(PANEL_ROWS)},
        in_place={} if op.residual is None else {0: len(op.operands) - 1},
    )


def _spec(op: LinearOp) -> Spec:
    views = column_views(x=op.x)
    if op.residual is not None:
        views |= column_views(residual=op.residual)
    return Spec(
        depth=columns_of(op.x),
        rows=weight_shape(op.weight)[0],
        weight=element(op.weight),
        output=element(op.result),
        scale=op.parameters["scale"],
        bias=op.bias is not None,
        swiglu=op.epilogue.data == Epilogue.SWIGLU,
        extent=str(op.extent.data),
        **views,
    )


@dataclass(frozen=True, slots=True)
class _Linear:
    """The parameters of a kernel under construction."""

    spec: Spec
    schedule: Schedule
    control: Control
    x: Tensor
    weight: Tensor
    bias: Tensor | None
    residual: Tensor | None
    y: Tensor

    @property
    def live(self) -> Expr:
        """Live rows."""
        sizes = {Extent.TOKENS: self.control.tokens, Extent.LOGIT_ROWS: self.control.logit_rows}
        return sizes[Extent(self.spec.extent)]


def build(spec: Spec, target: CpuTarget, schedule: Schedule | None = None) -> Any:
    """Return the PrimFunc (control, x, weight, bias?, residual?, y).

    x and y have any capacity of rows. The memory of y may be that of the residual.
    """
    chosen = schedule or default_schedule(spec, target)
    with kernel(spec.symbol, target, noalias=not spec.residual_pitch) as builder:
        linear = _declare(builder, spec, chosen)
        live = let(linear.live)
        block_rows = chosen.tile_rows * chosen.block_tiles
        blocks = let((live + block_rows - 1) // block_rows)
        panels = linear.weight.buffer.shape[0].value

        def block(item: Expr) -> None:
            panel = let(item // blocks)
            first = let(item % blocks * block_rows)
            _rows(linear, panel, first, let(T.min(live - first, block_rows)))

        def body(worker: Expr, count: Expr) -> None:
            shared(blocks * panels, worker, count, block)

        small_rows = SMALL // (spec.depth * spec.rows)
        workers(builder, linear.control, body, alone=live <= small_rows if small_rows else None)
    return builder.function


def _declare(builder: KernelBuilder, spec: Spec, schedule: Schedule) -> _Linear:
    control = builder.control()
    x = builder.tensor("x", ("x_rows", spec.x_pitch), spec.weight.dtype)
    shape = panel_shape(spec.rows, spec.depth, spec.weight.pack)
    weight = builder.tensor("weight", shape, spec.weight.dtype)
    bias = residual = None
    if spec.bias:
        bias = builder.tensor("bias", (padded(spec.rows),), "float32")
    if spec.residual_pitch:
        residual = builder.tensor("residual", ("residual_rows", spec.residual_pitch), "float32")
    y = builder.tensor("y", ("y_rows", spec.columns), spec.output.dtype)
    return _Linear(spec, schedule, control, x, weight, bias, residual, y)


def _rows(linear: _Linear, panel: Expr, first: Expr, count: Expr) -> None:
    """Emit `count` rows of a panel: whole tiles, then one tile of what is left."""
    height = linear.schedule.tile_rows
    with loop(count // height) as index:
        _tile(linear, panel, let(first + index * height), height)
    for rows in range(1, height):
        with when(T.EQ(count % height, rows)):
            _tile(linear, panel, let(first + count - rows), rows)


def _tile(linear: _Linear, panel: Expr, row: Expr, rows: int) -> None:
    """Emit `rows` rows of a panel, as many of its vectors at a time as registers allow."""
    width = linear.schedule.vectors(rows)
    if linear.spec.swiglu:
        width = max(width, 2)
    for first in range(0, PANEL_VECTORS, width):
        sums = registers(rows * width).fill(rows * width)
        _accumulate(linear, sums, panel, row, rows, range(first, first + width))
        _finish(linear, sums, panel, row, rows, range(first, first + width))


def _accumulate(
    linear: _Linear, sums: Registers, panel: Expr, row: Expr, rows: int, vectors: range
) -> None:
    """Emit sums += x W^T: every sum takes the steps of the depth in order."""
    kind, schedule = linear.spec.weight, linear.schedule

    def step(index: Expr) -> None:
        if rows <= schedule.prefetch_rows:
            for j in vectors:
                ahead = index + schedule.prefetch_steps
                prefetch(linear.weight, panel, ahead, j * LANES, 0)
        operands = [kind.operand(linear.weight, panel, index, j * LANES, 0) for j in vectors]
        for i in range(rows):
            x = kind.spread(linear.x, row + i, index * kind.pack + linear.spec.x_start)
            for j, operand in enumerate(operands):
                cell = i * len(vectors) + j
                sums[cell] = kind.dot(sums[cell], operand, x)

    _unrolled(-(-linear.spec.depth // kind.pack), schedule.unroll, step)


def _unrolled(extent: int, times: int, body: Callable[[Expr], None]) -> None:
    """Emit a loop with `times` bodies, then what is left of the extent."""
    with loop(extent // times) as index:
        for offset in range(times):
            body(let(index * times + offset))
    for index in range(extent - extent % times, extent):
        body(index)


def _finish(
    linear: _Linear, sums: Registers, panel: Expr, row: Expr, rows: int, vectors: range
) -> None:
    """Emit the epilogue of a tile and its stores; vectors beyond the last column are dropped."""
    spec = linear.spec
    stride = 2 if spec.swiglu else 1
    for j in range(0, len(vectors), stride):
        weight_row = let(panel * PANEL_ROWS + (vectors[j] * LANES))
        column = let(panel * (PANEL_ROWS // stride) + vectors[j] // stride * LANES)

        def write(j: int = j, weight_row: Expr = weight_row, column: Expr = column) -> None:
            for i in range(rows):
                cell = i * len(vectors) + j
                value = _activate(linear, [sums[cell + n] for n in range(stride)], weight_row)
                value = _join(linear, value, row + i, column)
                spec.output.store(linear.y, row + i, column, value=value)

        if spec.columns % (PANEL_ROWS // stride):
            with when(column < spec.columns):
                write()
        else:
            write()


def _activate(linear: _Linear, values: list[Expr], weight_row: Expr) -> Expr:
    """Return the sums with bias, through the activation."""
    if linear.bias is not None:
        bias = linear.bias
        values = [v + bias[lanes(weight_row + n * LANES)] for n, v in enumerate(values)]
    if linear.spec.swiglu:
        return vector.silu(values[0]) * values[1]
    return values[0]


def _join(linear: _Linear, value: Expr, row: Expr, column: Expr) -> Expr:
    """Return scale * value + residual."""
    spec = linear.spec
    if linear.residual is not None:
        residual = linear.residual[row, lanes(column + spec.residual_start)]
        return vector.fma(value, splat(spec.scale), residual)
    return value * splat(spec.scale) if spec.scale != 1.0 else value
