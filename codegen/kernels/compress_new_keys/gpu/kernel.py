"""compress_new_keys on a GPU: windows that a few tokens end; then the newest keys are kept."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.arguments import Arguments, batch
from sala_compile.codegen.kernels.compress_keys.gpu.windows import window_constants
from sala_compile.codegen.kernels.compress_new_keys import spec as compress
from sala_compile.codegen.kernels.compress_new_keys.gpu.new_windows import average_new_windows
from sala_compile.codegen.kernels.compress_new_keys.gpu.recent_keys import keep_between, keep_keys
from sala_compile.codegen.kernels.triton.family import GpuFamily
from sala_compile.codegen.kernels.triton.kernel import Grid, Launch
from sala_compile.codegen.kernels.triton.launches import constants_of, launch
from sala_compile.codegen.kernels.triton.phase import is_decode
from sala_compile.sala_ir.dialect.stages import CompressKeysOp, CompressNewKeysOp


@dataclass(frozen=True, slots=True)
class Spec(compress.Spec):
    """What the kernel is compiled for; `decode`: tokens are generated, and may be drafts."""

    decode: bool = False


@dataclass(frozen=True, slots=True)
class Schedule:
    """Tokens in which a program looks for ends of windows, and places that a program keeps."""

    tokens: int = 16
    places: int = 16
    warps: int = 4


def describe(op: CompressNewKeysOp | CompressKeysOp, target: object) -> Spec | str:
    """Take every op with float32 keys that keeps the recent ones itself."""
    if isinstance(op, CompressKeysOp):
        return "the recent keys are those of a cache"
    fields = compress.fields_of(op)
    return fields if isinstance(fields, str) else Spec(**fields, decode=is_decode(op))


def arguments(spec: Spec, schedule: Schedule) -> Arguments:
    """The arguments of a call."""
    fields = ("control", "token_sequence", "token_position", "offsets", "history", "slots")
    return (
        *batch(*fields),
        *batch("checkpoints", when=spec.decode),
        *batch("compressed_table"),
        *compress.operands(spec, packed=False),
    )


def launches(spec: Spec, schedule: Schedule, arguments: Arguments) -> tuple[Launch, ...]:
    """Programs (tiles of tokens, kv heads, levels); (sequences, kv heads, tiles of places).

    Between them, of generated tokens, (tokens, kv heads, tiles of places).
    """
    constants = constants_of(
        spec,
        RECENT=spec.recent,
        PLACES=schedule.places,
        **window_constants(spec, schedule.tokens),
    )
    heads, tiles = Grid(spec.kv_heads), Grid(-(-spec.recent // schedule.places))
    windows = (Grid(0, (("tokens", schedule.tokens, 1),)), heads, Grid(2))
    between = (Grid(0, (("tokens", 1, 1),)), heads, tiles)
    kept = (Grid(0, (("sequences", 1, 1),)), heads, tiles)
    grids = {average_new_windows: windows, keep_between: between, keep_keys: kept}
    if not spec.decode:
        del grids[keep_between]
    return tuple(
        launch(function, grid, arguments, constants, warps=schedule.warps)
        for function, grid in grids.items()
    )


FAMILY = GpuFamily(
    name="compress_new_keys",
    spec=Spec,
    describe=describe,
    arguments=arguments,
    schedule=Schedule,
    launches=launches,
)
