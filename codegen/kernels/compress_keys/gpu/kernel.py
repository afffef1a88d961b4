"""compress_keys on a GPU: one program finds and averages the windows that a few tokens end."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.arguments import Arguments, batch
from sala_compile.codegen.kernels.compress_keys.gpu.window_means import average_windows
from sala_compile.codegen.kernels.compress_keys.gpu.windows import window_constants
from sala_compile.codegen.kernels.compress_keys.spec import Spec, describe, pools
from sala_compile.codegen.kernels.triton.family import GpuFamily
from sala_compile.codegen.kernels.triton.kernel import Grid, Launch
from sala_compile.codegen.kernels.triton.launches import constants_of, launch


@dataclass(frozen=True, slots=True)
class Schedule:
    """Tokens in which a program looks for ends of windows."""

    tokens: int = 16
    warps: int = 4


def arguments(spec: Spec, schedule: Schedule) -> Arguments:
    """The arguments of a call."""
    fields = ("control", "token_sequence", "token_position", "slots")
    tables = ("page_table", "compressed_table")
    return (*batch(*fields, *tables), *pools(spec, packed=False))


def launches(spec: Spec, schedule: Schedule, arguments: Arguments) -> tuple[Launch, ...]:
    """Programs (tiles of tokens, kv heads, levels)."""
    constants = constants_of(spec, BLOCK=spec.block_size, **window_constants(spec, schedule.tokens))
    grid = (Grid(0, (("tokens", schedule.tokens, 1),)), Grid(spec.kv_heads), Grid(2))
    return (launch(average_windows, grid, arguments, constants, warps=schedule.warps),)


FAMILY = GpuFamily(
    name="compress_keys",
    spec=Spec,
    describe=describe,
    arguments=arguments,
    schedule=Schedule,
    launches=launches,
)
