"""attend_blocks on the CPU: a tile of queries and a kv head at a time, all heads of its group."""

from collections.abc import Callable

from sala_compile.codegen.kernels.arguments import Arguments, workspace
from sala_compile.codegen.kernels.attend_blocks import spec as attend
from sala_compile.codegen.kernels.attend_blocks.cpu.attend_rows import Attend
from sala_compile.codegen.kernels.attend_blocks.cpu.axes import WIDE_REGISTERS, axes
from sala_compile.codegen.kernels.attend_blocks.cpu.query_tiles import QueryTiles, StepDivision
from sala_compile.codegen.kernels.attend_blocks.cpu.schedule import Schedule
from sala_compile.codegen.kernels.attend_blocks.spec import Spec
from sala_compile.codegen.kernels.tir.builder import LANES, Expr, KernelBuilder, when
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.family import CpuFamily
from sala_compile.codegen.kernels.tir.product import widens
from sala_compile.codegen.kernels.tir.team import Team, workers
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.sala_ir.dialect.stages import AttendBlocksOp

FEWEST_SUMS = 8
"""Sums of a register tile that hide the latency of their products."""
WIDE_VECTORS = {1: 8, 2: 8, 3: 8, 4: 4, 5: 4, 6: 4, 7: 2, 8: 2}
"""Vectors of a register tile of so many rows where there are 32 wide registers."""


def describe(op: AttendBlocksOp, target: CpuTarget) -> Spec | str:
    """Take every op with float32 queries and gate."""
    fields = attend.fields_of(op)
    return fields if isinstance(fields, str) else Spec(**fields)


def tiles(spec: Spec, target: CpuTarget) -> Schedule:
    """The tiles that fill the registers of the target."""
    far = not target.processor.startswith("znver")  # whose first level takes a block in advance
    splits, wide = widens(target), target.has_avx512
    rows = max(n for n in range(1, 9 if wide else 7) if spec.group % n == 0)
    keys = values = rows, WIDE_VECTORS[rows] if wide else 1
    if wide and not (splits or spec.is_rounded):  # Each row tile would convert words again.
        keys, values = (_whole_rows(spec, n, keys) for n in (spec.block_size, spec.head_dim))
    token = {"token_rows": keys[0], "token_vectors": keys[1]}
    token |= {"value_rows": values[0], "value_vectors": values[1]}
    if wide and ((splits and spec.element is Element.BF16) or spec.is_rounded):
        tile = {"row_tile": 8, "column_vectors": 2, "query_rows": 128}
    elif wide:  # The values of a register tile take 16 to 24 KiB, which the first cache holds.
        vectors = 4 if -(-spec.head_dim // LANES) % 4 == 0 else 6
        tile = {"column_vectors": vectors, "query_rows": 128}
        tile |= {"value_blocks": 2 if spec.element is Element.BF16 else 1}
    else:
        tile = {"column_vectors": 1}
    return Schedule(fetches_far=far, widened=splits, **token, **tile)


def _whole_rows(spec: Spec, columns: int, otherwise: tuple[int, int]) -> tuple[int, int]:
    """A tile as wide as a row of a block, which reads memory in its order.

    Registers hold its sums, as many vectors of the block, and a number of a row. `otherwise` is
    taken where it would be so few sums that they wait for each other.
    """
    vectors = min(-(-columns // LANES), WIDE_REGISTERS)
    rows = [
        n for n in range(1, 9) if spec.group % n == 0 and (n + 1) * vectors < WIDE_REGISTERS + 8
    ]
    found = max(rows, default=1), vectors
    return found if found[0] == spec.group or found[0] * vectors >= FEWEST_SUMS else otherwise


def arguments(spec: Spec, schedule: Schedule) -> Arguments:
    """The arguments of a call, with scores, sums and outputs; queries and probabilities."""
    splits = schedule.product(spec).splits or spec.is_rounded
    workspaces = (
        workspace("scores", "f32", schedule.floats(spec)),
        workspace("operands", schedule.product(spec).stored, schedule.operands(spec)),
        workspace("split", "f32", schedule.split(spec), when=splits),
        workspace("partials", "f32", schedule.partials(spec)),
    )
    return attend.arguments(spec, workspaces, packed=True)


def emit(builder: KernelBuilder, spec: Spec, schedule: Schedule) -> None:
    """Emit the attention of all new tokens."""
    control = builder.tensors.control
    tiles = QueryTiles(builder.tensors, spec, schedule)
    division = StepDivision.of(tiles)
    body = Attend(tiles, division)

    def turn(items: Expr, emit_item: Callable[[Expr, Expr], None]) -> None:
        def work(team: Team) -> None:
            team.dynamic(items, lambda item: emit_item(team.worker, item))

        workers(builder, control, work)

    turn(body.items, body.item)
    with when(division.is_split):
        turn(body.rows, body.row)


FAMILY = CpuFamily(
    name="attend_blocks",
    spec=Spec,
    describe=describe,
    arguments=arguments,
    schedule=Schedule,
    tiles=tiles,
    axes=axes,
    emit=emit,
)
